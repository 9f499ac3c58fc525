// What tells this build from every other: the linker's hash of the program.
#ifndef PAMIR_CLI_BUILD_ID_H_
#define PAMIR_CLI_BUILD_ID_H_

#include <string>

namespace pamir::cli {

// "0.1.0+3f09c2d1a5b7...": the version and the program's GNU build id (the version alone where the
// linker made none). Coordinator and workers must agree in it: exactness holds within one build.
std::string BuildId();

}  // namespace pamir::cli

#endif  // PAMIR_CLI_BUILD_ID_H_
