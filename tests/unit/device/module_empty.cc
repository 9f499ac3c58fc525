// A library that has nothing to do with Pamir.
extern "C" __attribute__((visibility("default"))) int NothingOfPamir() { return 0; }
