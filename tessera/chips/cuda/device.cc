// SPDX-License-Identifier: Apache-2.0
#include "tessera/chips/cuda/device.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "tessera/chips/cuda/architecture.h"
#include "tessera/chips/cuda/cubin.h"
#include "tessera/chips/cuda/executable.h"
#include "tessera/chips/cuda/stream.h"

namespace tessera::chips::cuda {

class CudaBuffer final : public runtime::Buffer {
 public:
  CudaBuffer(CudaDevice& device, CUdeviceptr address, size_t size)
      : Buffer(device, address, size, /*host_data=*/nullptr) {
    device.in_use_.fetch_add(size, std::memory_order_relaxed);
  }
  ~CudaBuffer() override {
    auto& device = static_cast<CudaDevice&>(this->device());
    device.in_use_.fetch_sub(size(), std::memory_order_relaxed);
    if (address() != 0 && device.enter().ok()) device.driver().memory_free(address());
  }
};

namespace {

// CUdevice_attribute values of the driver ABI.
constexpr int kMultiprocessors = 16, kMajor = 75, kMinor = 76;
constexpr int kOldestMajor = 7;

Result<std::unique_ptr<runtime::Device>> make_device(const Driver& driver, int ordinal,
                                                     uint64_t memory_limit) {
  CUdevice device = 0;
  char name[256] = "";
  int major = 0, minor = 0, multiprocessors = 0;
  size_t bytes = 0;
  TESSERA_TRY(driver.check(driver.device_get(&device, ordinal), "cuDeviceGet"));
  TESSERA_TRY(driver.check(driver.device_name(name, sizeof name, device), "cuDeviceGetName"));
  TESSERA_TRY(
      driver.check(driver.device_attribute(&major, kMajor, device), "cuDeviceGetAttribute"));
  TESSERA_TRY(
      driver.check(driver.device_attribute(&minor, kMinor, device), "cuDeviceGetAttribute"));
  TESSERA_TRY(driver.check(driver.device_attribute(&multiprocessors, kMultiprocessors, device),
                           "cuDeviceGetAttribute"));
  TESSERA_TRY(driver.check(driver.device_memory(&bytes, device), "cuDeviceTotalMem"));
  if (major < kOldestMajor)
    return unsupported(
        fmt::format("{} has compute capability {}.{}; the cuda chip needs {}.0 or newer", name,
                    major, minor, kOldestMajor));
  CUcontext context = nullptr;
  TESSERA_TRY(driver.check(driver.context_retain(&context, device), "cuDevicePrimaryCtxRetain"));

  const Architecture& architecture = architecture_for(major, minor);
  runtime::DeviceInfo info;
  info.chip = "cuda";
  info.name = name;
  info.arch = fmt::format("cuda:{}", architecture.name);
  info.memory_bytes = bytes;
  info.compute_units = multiprocessors;
  info.native_types = architecture.native_types;
  info.features = {std::string(architecture.name)};
  info.capabilities = architecture.capabilities;
  int version = 0;
  TESSERA_TRY(driver.check(driver.driver_version(&version), "cuDriverGetVersion"));
  return std::unique_ptr<runtime::Device>(std::make_unique<CudaDevice>(
      driver, device, context, std::move(info),
      fmt::format("sm_{}{}-driver{}", major, minor, version), memory_limit));
}

}  // namespace

Result<std::vector<std::unique_ptr<runtime::Device>>> devices(const runtime::ChipOptions& options) {
  std::vector<std::unique_ptr<runtime::Device>> found;
  auto driver = Driver::open();
  if (!driver.ok()) {
    if (!options.required) return found;
    return driver.error();
  }
  int count = 0;
  TESSERA_TRY(driver.value()->check(driver.value()->device_count(&count), "cuDeviceGetCount"));
  if (count == 0 && options.required)
    return make_error(ErrorCode::unavailable, "the CUDA driver has no GPU");
  int first = 0, last = count;
  if (!options.option.empty()) {
    const char* end = options.option.data() + options.option.size();
    const auto parsed = std::from_chars(options.option.data(), end, first);
    if (parsed.ec != std::errc() || parsed.ptr != end || first < 0 || first >= count)
      return not_found(fmt::format("no CUDA device '{}': this machine has {} (numbered from 0)",
                                   options.option, count));
    last = first + 1;
  }
  std::optional<Error> too_old;  // beside newer ones it does not matter
  for (int ordinal = first; ordinal < last; ++ordinal) {
    auto device = make_device(*driver.value(), ordinal, options.memory_limit);
    if (device.ok())
      found.push_back(std::move(*device));
    else if (device.error().code == ErrorCode::unsupported)
      too_old = std::move(device).error();
    else
      return std::move(device).error();
  }
  if (found.empty() && too_old && options.required) return std::move(*too_old);
  return found;
}

uint64_t CudaDevice::next_number() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

CudaDevice::CudaDevice(const Driver& driver, CUdevice device, CUcontext context,
                       runtime::DeviceInfo info, std::string identity, uint64_t memory_limit)
    : Device(std::move(info)),
      driver_(driver),
      device_(device),
      context_(context),
      identity_(std::move(identity)),
      memory_limit_(memory_limit),
      number_(next_number()) {}

CudaDevice::~CudaDevice() { driver_.context_release(device_); }

Result<void> CudaDevice::enter() const {
  // Launches come by here: a thread that stays with one device asks the driver once.
  thread_local uint64_t entered = 0;
  if (entered == number_) [[likely]]
    return {};
  TESSERA_TRY(driver_.check(driver_.context_set(context_), "cuCtxSetCurrent"));
  entered = number_;
  return {};
}

uint64_t CudaDevice::memory_free() const {
  size_t free = 0, total = 0;
  if (!enter().ok() || driver_.memory_info(&free, &total) != kSuccess) return 0;
  if (memory_limit_ == 0) return free;
  const uint64_t used = memory_in_use();
  return std::min<uint64_t>(free, memory_limit_ > used ? memory_limit_ - used : 0);
}

Result<std::unique_ptr<runtime::Buffer>> CudaDevice::allocate(size_t bytes) {
  TESSERA_TRY(enter());
  CUdeviceptr address = 0;
  if (bytes > 0) {
    const bool over_limit = memory_limit_ != 0 && bytes > memory_free();
    const CUresult status = over_limit ? kOutOfMemory : driver_.memory_allocate(&address, bytes);
    if (status == kOutOfMemory)
      return out_of_memory(fmt::format("{} bytes requested on {}, {} free of {}", bytes,
                                       info().name, memory_free(), info().memory_bytes));
    TESSERA_TRY(driver_.check(status, "cuMemAlloc"));
  }
  return std::unique_ptr<runtime::Buffer>(std::make_unique<CudaBuffer>(*this, address, bytes));
}

Result<std::unique_ptr<runtime::Stream>> CudaDevice::create_stream() {
  return CudaStream::create(*this);
}
Result<std::unique_ptr<runtime::Event>> CudaDevice::create_event() {
  return CudaEvent::create(*this);
}

Result<runtime::KernelImage> CudaDevice::finish(const runtime::KernelImage& image) {
  if (image.format != kPtx) return image;
  return make_cubin(*this, image);
}

Result<std::shared_ptr<runtime::Executable>> CudaDevice::do_load(
    const runtime::KernelImage& image) {
  if (image.format != kPtx && image.format != kCubin) return unknown_format(image, "ptx and cubin");
  if (image.format == kPtx) driver_compilations_.fetch_add(1, std::memory_order_relaxed);
  return CudaExecutable::load(*this, image);
}

}  // namespace tessera::chips::cuda
