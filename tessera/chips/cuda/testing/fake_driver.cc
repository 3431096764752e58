// SPDX-License-Identifier: Apache-2.0
// A libcuda.so.1 for tests of what surrounds the driver: memory is the host's, launches do nothing,
// and the linker's machine code is the PTX behind a mark. $TESSERA_FAKE_CUDA chooses what goes
// wrong: "no-device", "old-gpu", "small-memory", "bad-kernel", "lost".
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace {

using Status = int;
constexpr Status kSuccess = 0, kInvalidValue = 1, kOutOfMemory = 2, kNoDevice = 100,
                 kInvalidImage = 200, kInvalidPtx = 218, kNotFound = 500, kLaunchFailed = 719;
constexpr size_t kMemory = size_t{1} << 30, kSmallMemory = size_t{1} << 16;
constexpr char kMark[] =
    "\x7f"
    "FAKECUBIN";

bool is(std::string_view mode) {
  const char* chosen = std::getenv("TESSERA_FAKE_CUDA");
  return chosen != nullptr && mode == chosen;
}
size_t total() { return is("small-memory") ? kSmallMemory : kMemory; }

std::mutex mutex;
std::map<uint64_t, size_t> blocks;
size_t in_use = 0;
void* const kHandle = reinterpret_cast<void*>(uintptr_t{16});

struct Option {
  int* names;
  void** values;
  unsigned count;
  void write_log(const char* text) const {
    for (unsigned i = 0; i < count; ++i)
      if (names[i] == 5) std::strcpy(static_cast<char*>(values[i]), text);
  }
};

struct Link {
  std::string code;
  Option options;
};

}  // namespace

extern "C" {

Status cuInit(unsigned) { return is("no-device") ? kNoDevice : kSuccess; }
Status cuDriverGetVersion(int* version) { return *version = 13000, kSuccess; }
Status cuGetErrorName(Status status, const char** name) {
  *name = status == kLaunchFailed ? "CUDA_ERROR_LAUNCH_FAILED" : "CUDA_ERROR";
  return kSuccess;
}
Status cuGetErrorString(Status status, const char** text) {
  *text = status == kNoDevice       ? "no CUDA-capable device is detected"
          : status == kLaunchFailed ? "unspecified launch failure"
          : status == kInvalidPtx   ? "a PTX JIT compilation failed"
          : status == kOutOfMemory  ? "out of memory"
                                    : "an error";
  return kSuccess;
}
Status cuDeviceGetCount(int* count) { return *count = 1, kSuccess; }
Status cuDeviceGet(int* device, int ordinal) { return *device = ordinal, kSuccess; }
Status cuDeviceGetName(char* name, int length, int) {
  std::snprintf(name, static_cast<size_t>(length), "Fake GPU");
  return kSuccess;
}
Status cuDeviceGetAttribute(int* value, int attribute, int) {
  const bool old = is("old-gpu");
  *value = attribute == 75 ? (old ? 6 : 9) : attribute == 76 ? (old ? 1 : 0) : 4;
  return kSuccess;
}
Status cuDeviceTotalMem_v2(size_t* bytes, int) { return *bytes = total(), kSuccess; }
Status cuDevicePrimaryCtxRetain(void** context, int) { return *context = kHandle, kSuccess; }
Status cuDevicePrimaryCtxRelease_v2(int) { return kSuccess; }
Status cuCtxSetCurrent(void*) { return kSuccess; }
Status cuMemGetInfo_v2(size_t* free, size_t* all) {
  const std::lock_guard lock(mutex);
  *all = total();
  *free = total() - in_use;
  return kSuccess;
}
Status cuMemAlloc_v2(uint64_t* address, size_t bytes) {
  const std::lock_guard lock(mutex);
  if (bytes > total() - in_use) return kOutOfMemory;
  void* memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  *address = reinterpret_cast<uint64_t>(memory);
  blocks[*address] = bytes;
  in_use += bytes;
  return kSuccess;
}
Status cuMemFree_v2(uint64_t address) {
  const std::lock_guard lock(mutex);
  const auto block = blocks.find(address);
  if (block == blocks.end()) return kInvalidValue;
  in_use -= block->second;
  blocks.erase(block);
  std::free(reinterpret_cast<void*>(address));
  return kSuccess;
}
Status cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void*) {
  std::memcpy(reinterpret_cast<void*>(to), from, bytes);
  return kSuccess;
}
Status cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void*) {
  std::memcpy(to, reinterpret_cast<void*>(from), bytes);
  return kSuccess;
}
Status cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void*) {
  std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes);
  return kSuccess;
}
Status cuMemsetD8Async(uint64_t to, unsigned char value, size_t count, void*) {
  std::memset(reinterpret_cast<void*>(to), value, count);
  return kSuccess;
}
Status cuMemsetD32Async(uint64_t to, unsigned value, size_t count, void*) {
  for (size_t i = 0; i < count; ++i) reinterpret_cast<unsigned*>(to)[i] = value;
  return kSuccess;
}
Status cuStreamCreate(void** stream, unsigned) { return *stream = kHandle, kSuccess; }
Status cuStreamDestroy_v2(void*) { return kSuccess; }
Status cuStreamSynchronize(void*) { return is("lost") ? kLaunchFailed : kSuccess; }
Status cuStreamWaitEvent(void*, void*, unsigned) { return kSuccess; }
Status cuStreamBeginCapture_v2(void*, int) { return kSuccess; }
Status cuStreamEndCapture(void*, void** graph) { return *graph = kHandle, kSuccess; }
Status cuStreamGetCaptureInfo_v2(void*, int* status, uint64_t*, void**, void* const** last,
                                 size_t* count) {
  *status = 1;
  *last = &kHandle;
  return *count = 1, kSuccess;
}
Status cuStreamUpdateCaptureDependencies(void*, void**, size_t, unsigned) { return kSuccess; }
Status cuGraphGetNodes(void*, void*, size_t* count) { return *count = 0, kSuccess; }
Status cuGraphInstantiateWithFlags(void** executable, void*, unsigned long long) {
  return *executable = kHandle, kSuccess;
}
Status cuGraphLaunch(void*, void*) { return kSuccess; }
Status cuGraphDestroy(void*) { return kSuccess; }
Status cuGraphExecDestroy(void*) { return kSuccess; }
Status cuEventCreate(void** event, unsigned) { return *event = kHandle, kSuccess; }
Status cuEventDestroy_v2(void*) { return kSuccess; }
Status cuEventRecord(void*, void*) { return kSuccess; }
Status cuEventQuery(void*) { return kSuccess; }
Status cuEventSynchronize(void*) { return kSuccess; }
Status cuEventElapsedTime(float* milliseconds, void*, void*) { return *milliseconds = 1, kSuccess; }
Status cuModuleLoadDataEx(void** module, const void* image, unsigned count, int* options,
                          void** values) {
  const auto* text = static_cast<const char*>(image);
  const bool known = std::strncmp(text, kMark, sizeof kMark - 1) == 0 || text[0] == '/';
  if (!known) return kInvalidImage;
  if (is("bad-kernel")) {
    Option{options, values, count}.write_log("ptxas fatal: line 7 is wrong");
    return kInvalidPtx;
  }
  return *module = kHandle, kSuccess;
}
Status cuModuleUnload(void*) { return kSuccess; }
Status cuModuleGetFunction(void** function, void*, const char*) {
  return *function = kHandle, kSuccess;
}
Status cuModuleGetGlobal_v2(uint64_t*, size_t*, void*, const char*) { return kNotFound; }
Status cuMemcpyDtoH_v2(void* to, uint64_t from, size_t bytes) {
  return std::memcpy(to, reinterpret_cast<void*>(from), bytes), kSuccess;
}
Status cuTensorMapEncodeTiled(void*, int, unsigned, void*, const uint64_t*, const uint64_t*,
                              const uint32_t*, const uint32_t*, int, int, int, int) {
  return kSuccess;
}
Status cuFuncSetAttribute(void*, int, int) { return kSuccess; }
Status cuLinkCreate_v2(unsigned count, int* options, void** values, void** state) {
  return *state = new Link{{}, {options, values, count}}, kSuccess;
}
Status cuLinkAddData_v2(void* state, int, void* data, size_t size, const char*, unsigned, int*,
                        void**) {
  auto* link = static_cast<Link*>(state);
  if (is("bad-kernel")) {
    link->options.write_log("ptxas fatal: line 7 is wrong");
    return kInvalidPtx;
  }
  link->code = kMark + std::string(static_cast<const char*>(data), size);
  return kSuccess;
}
#ifndef TESSERA_FAKE_CUDA_IS_OLD
Status cuLinkComplete(void* state, void** image, size_t* size) {
  auto* link = static_cast<Link*>(state);
  *image = link->code.data();
  *size = link->code.size();
  return kSuccess;
}
#endif
Status cuLinkDestroy(void* state) {
  delete static_cast<Link*>(state);
  return kSuccess;
}
Status cuLaunchKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                      void*, void**, void**) {
  return kSuccess;
}

}  // extern "C"
