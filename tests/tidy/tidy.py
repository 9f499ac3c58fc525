#!/usr/bin/env python3
"""The shape of the code as a test: walls between rooms, lengths, files that nobody uses.

Run from anywhere; exit status 1 lists what is wrong. `tidy.py --self-test` breaks each rule on
purpose and checks that it is seen.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINE_MAX = 100
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
TOP_LEVEL = {'CMakeLists.txt', 'CMakePresets.json', 'proto', 'src', 'include', 'kernels', 'configs',
             'scripts', 'tests', 'docs', 'cmake', 'README.md', 'LICENSE', '.ci', '.clang-format',
             '.clang-tidy', '.gitignore', '.gitattributes'}

# A room is a folder with code; its name is the folder below src/ (or kernels/<op>).
PURE = 'core'
GENERATED_ALLOWED = {'cluster/wire', 'gateway', 'client'}
CUDA_ALLOWED = {'engine/device', 'engine/comm'}
CORE_FORBIDDEN = {'thread', 'mutex', 'shared_mutex', 'condition_variable', 'atomic', 'future', 'fstream',
                  'filesystem', 'chrono', 'unistd.h', 'fcntl.h', 'sys/socket.h', 'sys/mman.h',
                  'absl/time/clock.h', 'absl/synchronization/mutex.h', 'base/clock.h',
                  'base/thread_pool.h', 'base/bounded_queue.h', 'base/log.h'}
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')


def sources(root):
    for top in ('src', 'include', 'kernels', 'tests'):
        for path in sorted((root / top).rglob('*')):
            if path.suffix in ('.h', '.cc', '.cu', '.cuh', '.inc') and path.is_file():
                yield path


def room_of(relative):
    """'src/core/sched/x.h' -> 'core/sched', 'kernels/norm/x.h' -> 'kernels', 'tests/..' -> 'tests'."""
    parts = relative.split('/')
    if parts[0] == 'src':
        deep = parts[1] in ('core', 'engine', 'cluster') and len(parts) > 3
        return '/'.join(parts[1:3]) if deep else parts[1]
    return parts[0]


def room_of_include(name, root):
    if (root / 'src' / name).is_file():
        return room_of('src/' + name)
    if name.startswith('kernels/'):
        return 'kernels'
    if name.startswith('pamir/') and not re.search(r'\.pb\.h$', name):
        return 'include'
    return None


def includes_of(text):
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1) or match.group(2)


def wall_problems(relative, text, root):
    room = room_of(relative)
    if room == 'tests':
        return
    for number, name in includes_of(text):
        to = room_of_include(name, root)
        where = f'{relative}:{number}: includes {name}'
        if room.startswith(PURE):
            if name in CORE_FORBIDDEN:
                yield f'{where}: core is pure (no threads, clock, files, sockets)'
            if to and not (to.startswith(PURE) or to in ('base', 'include')):
                yield f'{where}: core includes only core, base and include/pamir'
        generated = re.search(r'\.pb\.h$', name) or name.startswith(('grpc', 'google/protobuf'))
        if generated and room not in GENERATED_ALLOWED:
            yield f'{where}: protobuf and gRPC belong in {", ".join(sorted(GENERATED_ALLOWED))}'
        if re.match(r'(cuda|cublas|nccl|cub/|thrust/)', name):
            if room not in CUDA_ALLOWED and not relative.endswith(('.cu', '.cuh')):
                yield f'{where}: CUDA headers belong in {", ".join(sorted(CUDA_ALLOWED))} and .cu files'
        if room == 'gateway' and to and to not in ('gateway', 'base', 'include', 'core/flow'):
            yield f'{where}: gateway sees only core/flow'
        if room == 'kernels' and to and to not in ('kernels', 'base'):
            yield f'{where}: kernels include only base'
        if room == 'include' and (to not in (None, 'include') or '/' in name and to is None):
            yield f'{where}: include/pamir is for the standard library only'
        if room == 'base' and to and to != 'base':
            yield f'{where}: base includes nothing of the project'
        if room == 'bench' and to and not re.match(r'(engine/|core/|(bench|base|include|kernels)$)', to):
            yield f'{where}: bench includes engine, core, base and kernels'
        if to == 'bench' and room not in ('bench', 'cli'):
            yield f'{where}: only cli includes bench'
        if to == 'cli' and room != 'cli':
            yield f'{where}: nobody includes cli'


def edges_of(relative, text, root):
    room = room_of(relative)
    for _, name in includes_of(text):
        to = room_of_include(name, root)
        if to and to != room and room != 'tests':
            yield room, to


def cycle_problems(edges):
    """Two rooms that reach each other."""
    reach = {}
    for start in {a for a, _ in edges}:
        seen, todo = set(), [start]
        while todo:
            at = todo.pop()
            for a, b in edges:
                if a == at and b not in seen:
                    seen.add(b)
                    todo.append(b)
        reach[start] = seen
    for a in sorted(reach):
        for b in sorted(reach[a]):
            if a < b and a in reach.get(b, ()):
                yield f'rooms {a} and {b} include each other'


def length_problems(relative, text):
    lines = text.splitlines()
    if len(lines) > FILE_LINES_MAX and not relative.endswith('.inc'):
        yield f'{relative}: {len(lines)} lines; at most {FILE_LINES_MAX}'
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_MAX and 'http' not in line:
            yield f'{relative}:{number}: {len(line)} columns; at most {LINE_MAX}'
    for number, length in function_lengths(lines):
        if length > FUNCTION_LINES_MAX:
            yield f'{relative}:{number}: a function of {length} lines; at most {FUNCTION_LINES_MAX}'


NO_FUNCTION = re.compile(
    r'(namespace|class|struct|enum|union|extern|if|for|while|switch|do|else|using|TEST\w*\(|\})\b|\}')


def code_of(line):
    return line.split('//')[0].strip()


def function_lengths(lines):
    """(first line, length) of each function: clang-format ends it at its first line's indentation."""
    opened = {}
    for number, line in enumerate(lines, 1):
        body = line.strip()
        if body.endswith('{'):
            first = number
            while first > 1 and not re.search(r'[;{}:]$|^$|^#', code_of(lines[first - 2])):
                first -= 1
            head = ' '.join(l.strip() for l in lines[first - 1:number])
            if '(' in head and '](' not in head and not NO_FUNCTION.match(head):
                opened[len(lines[first - 1]) - len(lines[first - 1].lstrip())] = first
        elif body.startswith('}'):
            first = opened.pop(len(line) - len(line.lstrip()), None)
            if first:
                yield first, number - first + 1


def dead_header_problems(files, root):
    used = set()
    for text in files.values():
        used |= {name for _, name in includes_of(text)}
    for relative in files:
        if not relative.endswith(('.h', '.inc')):
            continue
        name = re.sub(r'^(src|include|tests)/', '', relative)
        if relative.startswith('include/'):
            continue  # for users
        if not used & {name, relative, pathlib.Path(name).name}:
            yield f'{relative}: no file includes it'


def dead_source_problems(files, root):
    """A .cc or .cu that no CMakeLists.txt beside or above it, nor cmake/, names (or globs)."""
    shared = ''.join((root / 'cmake' / name).read_text()
                     for name in ('PamirTargets.cmake', 'PamirCuda.cmake'))
    for relative in files:
        if not relative.endswith(('.cc', '.cu')):
            continue
        path = pathlib.PurePath(relative)
        room_glob = f'/{path.parts[0]}/*/*{path.suffix}'
        if path.name in shared or room_glob in shared and len(path.parts) == 3:
            continue
        texts = [(root / folder / 'CMakeLists.txt') for folder in path.parents]
        texts = [cmake.read_text() for cmake in texts if cmake.is_file()]
        names = (path.name, '*/*' + path.suffix, '*' + path.suffix)
        if not any(name in text for text in texts for name in names):
            yield f'{relative}: no CMakeLists.txt names it'


def guard_problems(relative, text):
    if not relative.endswith('.h') or '-inl.h' in relative:
        return
    name = re.sub(r'^(src|include)/', '', relative)
    name = name if name.startswith('pamir/') else 'pamir/' + name
    guard = re.sub(r'[^A-Za-z0-9]', '_', name).upper() + '_'
    if f'#ifndef {guard}\n' not in text:
        yield f'{relative}: the include guard should be {guard}'


def top_level_problems(root):
    for path in root.iterdir():
        if path.name not in TOP_LEVEL | {'.git', 'build', 'bundle', '.cache', 'compile_commands.json'}:
            yield f'{path.name}: not one of the top level\'s names'


def vendor_problems(relative, text):
    if relative.endswith('.h') and re.search(r'^\s*#\s*(if|ifdef|ifndef).*\b(__CUDA|__NVCC|__HIP|USE_CUDA|USE_ROCM|PAMIR_CUDA)', text, re.M):
        yield f'{relative}: no #if on a vendor in a header; back ends differ by file and target'


def problems(root):
    files = {str(p.relative_to(root)): p.read_text() for p in sources(root)}
    edges = set()
    for relative, text in files.items():
        edges |= set(edges_of(relative, text, root))
        yield from wall_problems(relative, text, root)
        yield from length_problems(relative, text)
        yield from guard_problems(relative, text)
        yield from vendor_problems(relative, text)
    yield from cycle_problems(edges)
    yield from dead_header_problems(files, root)
    yield from dead_source_problems(files, root)
    yield from top_level_problems(root)


def self_test():
    """Each rule sees what breaks it."""
    bad = [
        list(wall_problems('src/core/kv/x.cc', '#include <thread>\n', ROOT)),
        list(wall_problems('src/core/kv/x.cc', '#include "engine/comm/communicator.h"\n', ROOT)),
        list(wall_problems('src/cli/x.cc', '#include "pamir/v1/generation.pb.h"\n', ROOT)),
        list(wall_problems('src/gateway/x.cc', '#include "core/sched/scheduler.h"\n', ROOT)),
        list(wall_problems('kernels/norm/x.cc', '#include "core/flow/ports.h"\n', ROOT)),
        list(wall_problems('src/client/x.cc', '#include "cli/options.h"\n', ROOT)),
        list(wall_problems('src/engine/model/x.cc', '#include <cuda_runtime.h>\n', ROOT)),
        list(wall_problems('include/pamir/x.h', '#include "absl/status/status.h"\n', ROOT)),
        list(wall_problems('src/base/x.h', '#include "core/flow/ports.h"\n', ROOT)),
        list(wall_problems('src/bench/x.cc', '#include "cluster/worker/worker.h"\n', ROOT)),
        list(wall_problems('src/engine/model/x.cc', '#include "bench/report.h"\n', ROOT)),
        list(cycle_problems({('a', 'b'), ('b', 'c'), ('c', 'a')})),
        list(length_problems('src/x.cc', 'x' * 101)),
        list(length_problems('src/x.cc', '\n' * 401)),
        list(length_problems('src/x.cc', 'int F() {\n' + '  Y();\n' * 60 + '}\n')),
        list(guard_problems('src/base/x.h', '#ifndef X_H\n')),
        list(vendor_problems('src/base/x.h', '#ifdef __CUDACC__\n')),
        list(dead_header_problems({'src/base/nobody.h': ''}, ROOT)),
        list(dead_source_problems({'src/base/nobody.cc': ''}, ROOT)),
        list(dead_source_problems({'tests/gpu/ops/nobody.cu': ''}, ROOT)),
    ]
    good = [
        list(wall_problems('src/core/kv/x.cc', '#include "base/ids.h"\n#include <vector>\n', ROOT)),
        list(wall_problems('kernels/norm/x.cc', '#include "base/kernel_context.h"\n', ROOT)),
        list(length_problems('src/x.cc', 'int F() {\n' + '  Y();\n' * 58 + '}\n')),
        list(cycle_problems({('a', 'b'), ('b', 'c')})),
        list(dead_source_problems({'kernels/norm/norm.cu': ''}, ROOT)),
    ]
    missed = [i for i, found in enumerate(bad) if not found]
    false = [found for found in good if found]
    if missed or false:
        sys.exit(f'self-test: rules {missed} see nothing; false alarms: {false}')
    print(f'self-test: {len(bad)} broken examples seen, {len(good)} good ones passed')


if __name__ == '__main__':
    if '--self-test' in sys.argv:
        self_test()
        sys.exit(0)
    found = list(problems(ROOT))
    print('\n'.join(found) if found else f'{sum(1 for _ in sources(ROOT))} files, nothing to complain about')
    sys.exit(1 if found else 0)
