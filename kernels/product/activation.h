// What may follow a product. Apart from product.h, so that device code includes no more than this.
#ifndef PAMIR_KERNELS_PRODUCT_ACTIVATION_H_
#define PAMIR_KERNELS_PRODUCT_ACTIVATION_H_

#include <cstdint>

namespace pamir::kernels {

enum class Activation : uint8_t { kNone, kRelu, kGelu };  // kGelu: 0.5 x (1 + erf(x / sqrt 2))

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_PRODUCT_ACTIVATION_H_
