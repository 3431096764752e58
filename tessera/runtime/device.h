// SPDX-License-Identifier: Apache-2.0
// One chip found on this machine: makes buffers, streams, events and loaded kernels, all of which
// it must outlive. Implemented by the device part of a folder under tessera/chips; opened by
// chip_registry.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/dtype.h"
#include "tessera/base/result.h"
#include "tessera/runtime/bandwidth.h"
#include "tessera/runtime/buffer.h"
#include "tessera/runtime/capabilities.h"
#include "tessera/runtime/event.h"
#include "tessera/runtime/executable.h"
#include "tessera/runtime/kernel_image.h"
#include "tessera/runtime/stream.h"
#include "tessera/runtime/tuning.h"

namespace tessera::runtime {

struct DeviceInfo {
  std::string chip = {};  // name of the chip folder: "cpu"
  std::string name = {};  // what its vendor calls it: "AMD EPYC 9554"
  std::string arch = {};  // target the kernels are compiled for: "cpu:x86-64-v4"
  uint64_t memory_bytes = 0;
  int compute_units = 0;            // cores or multiprocessors a launch may use
  uint64_t unit_scratch_bytes = 0;  // of host memory, at most, that programs on one of them take
  std::vector<DType> native_types = {};    // types the chip computes or converts in hardware
  std::vector<std::string> features = {};  // what KernelImage::required_features may ask for
  Capabilities capabilities = {};  // of the architecture: equal to those of its compiler target

  bool has_feature(std::string_view feature) const;
};

class Device {
 public:
  virtual ~Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const DeviceInfo& info() const { return info_; }
  /// From now on the device's capabilities name `tuning`, which the device keeps.
  const std::shared_ptr<const Tuning>& tuning() const { return tuning_; }
  void use_tuning(std::shared_ptr<const Tuning> tuning) {
    tuning_ = std::move(tuning);
    info_.capabilities.tuning = tuning_.get();
  }

  /// Memory with undefined content. Zero bytes are allowed. Out of memory names what was asked for,
  /// what is free and the total.
  virtual Result<std::unique_ptr<Buffer>> allocate(size_t bytes) = 0;
  /// Read-only view of host memory without a copy (memory-mapped weights); the bytes must outlive
  /// the buffer. `unsupported` on chips that cannot read host memory at speed.
  virtual Result<std::unique_ptr<Buffer>> import_host(std::span<const std::byte> bytes);
  virtual Result<std::unique_ptr<Stream>> create_stream() = 0;
  virtual Result<std::unique_ptr<Event>> create_event() = 0;

  /// Loads a kernel after checking that this device has the features it asks for.
  Result<std::shared_ptr<Executable>> load(const KernelImage& image);

  /// Turns an image that load() would have the driver compile into one that it need not. The
  /// result depends on the image and finish_identity(). The default returns the image.
  virtual Result<KernelImage> finish(const KernelImage& image) { return image; }
  /// GPU and driver that finish() works for, fit for file names ("sm_90-driver13000"); empty where
  /// images are final as they are.
  virtual std::string finish_identity() const { return {}; }
  /// Images that the driver compiled while loading them.
  virtual int64_t driver_compilations() const { return 0; }

  /// Bytes held by live buffers of this device; imported memory does not count.
  virtual uint64_t memory_in_use() const = 0;
  /// Bytes allocate() may still hand out, as far as the chip can tell.
  virtual uint64_t memory_free() const = 0;

  /// Measures the memory ceiling, see bandwidth.h. The default times copies through a stream.
  virtual Result<std::unique_ptr<BandwidthProbe>> bandwidth_probe(const BandwidthOptions& options);

 protected:
  explicit Device(DeviceInfo info) : info_(std::move(info)) {}

  /// Refuses formats it does not know through unknown_format().
  virtual Result<std::shared_ptr<Executable>> do_load(const KernelImage& image) = 0;
  Error unknown_format(const KernelImage& image, std::string_view accepted) const;

 private:
  DeviceInfo info_;
  std::shared_ptr<const Tuning> tuning_;
};

}  // namespace tessera::runtime
