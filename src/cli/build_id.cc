#include "cli/build_id.h"

#include <elf.h>
#include <link.h>

#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/units.h"
#include "pamir/version.h"

namespace pamir::cli {
namespace {

// The first object that is visited is the program itself.
int FindNote(dl_phdr_info* info, size_t, void* out) {
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info->dlpi_phdr[i];
    if (header.p_type != PT_NOTE) continue;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the loader gives addresses as integers
    const char* at = reinterpret_cast<const char*>(info->dlpi_addr + header.p_vaddr);
    const char* const end = at + header.p_memsz;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      ElfW(Nhdr) note;
      std::memcpy(&note, at, sizeof note);
      const char* const name = at + sizeof note;
      const char* const data = name + RoundUp(note.n_namesz, 4);
      if (note.n_type == NT_GNU_BUILD_ID && std::memcmp(name, "GNU", 4) == 0) {
        static_cast<std::string*>(out)->assign(data, note.n_descsz);
        return 1;
      }
      at = data + RoundUp(note.n_descsz, 4);
    }
  }
  return 1;
}

}  // namespace

std::string BuildId() {
  std::string note;
  dl_iterate_phdr(FindNote, &note);
  return note.empty() ? std::string(kVersion)
                      : absl::StrCat(kVersion, "+", std::string(absl::BytesToHexString(note)));
}

}  // namespace pamir::cli
