// The release. Workers and coordinator of different versions do not work together.
#ifndef PAMIR_VERSION_H_
#define PAMIR_VERSION_H_

namespace pamir {

inline constexpr char kVersion[] = "0.1.0";  // as project(pamir VERSION ...) says

}  // namespace pamir

#endif  // PAMIR_VERSION_H_
