# Shared by the scripts: where the project is, how to say something, how to install, how to build.
# shellcheck shell=bash
set -euo pipefail
PAMIR_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$PAMIR_ROOT"

# What building and testing need beside a C++ compiler and CMake (Debian bookworm's names).
PAMIR_PACKAGES=(
  ninja-build ccache pkg-config python3 openssl iproute2
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc
  libabsl-dev libspdlog-dev libfmt-dev libgloo-dev libhwy-dev libssl-dev
  nlohmann-json3-dev libcli11-dev libgtest-dev libgmock-dev)
# What scripts/check and scripts/bench need beside that.
PAMIR_CHECK_PACKAGES=(clang clang-format clang-tidy libclang-rt-dev)
PAMIR_BENCH_PACKAGES=(libbenchmark-dev libdnnl-dev)

say() { printf '\n== %s\n' "$*" >&2; }
fail() { printf 'pamir: %s\n' "$*" >&2; exit 1; }

# install_missing PACKAGE...: with apt as root or with sudo; otherwise says the one line to run.
install_missing() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  local line="apt-get install -y --no-install-recommends ${missing[*]}"
  command -v apt-get >/dev/null || fail "these Debian packages are missing: ${missing[*]}"
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if sudo -n true 2>/dev/null; then
      as_root=(sudo -n)
    else
      fail "some packages are missing and this is not root. Run: sudo apt-get update && sudo $line"
    fi
  fi
  say "Installing ${#missing[@]} packages: ${missing[*]}"
  "${as_root[@]}" apt-get update -q || true  # an old list may still do
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive $line
}

# The architecture to compile GPU kernels for where only this machine's GPU matters: nothing printed
# where none is seen. Devices newer than those of cmake/PamirCuda.cmake run its PTX.
local_cuda_architecture() {
  local capability
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sort -n | head -1) || return 0
  case "${capability%% *}" in
    7.5) echo 75-real ;;
    8.*) echo 80-real ;;
    9.0) echo 90a-real ;;
    1[0-9].*) echo 90-virtual ;;
  esac
}

# build PRESET [TARGET...]: configures and builds in build/PRESET. Two compilations a core would not
# fit small memories: each may take 1 GB.
build() {
  local preset="$1" jobs memory_gb
  shift
  memory_gb=$(awk '/MemTotal/ {print int($2 / 1048576)}' /proc/meminfo)
  jobs=$(nproc)
  [ "$memory_gb" -ge 1 ] && [ "$jobs" -gt "$memory_gb" ] && jobs=$memory_gb
  say "Building ($preset, $jobs jobs)"
  cmake --preset "$preset" ${PAMIR_CMAKE_FLAGS:-} >"build-$preset.log" 2>&1 ||
    { cat "build-$preset.log" >&2; rm -f "build-$preset.log"; fail "CMake could not configure"; }
  rm -f "build-$preset.log"
  cmake --build "build/$preset" -j "$jobs" ${1:+--target "$@"}
}
