// SPDX-License-Identifier: Apache-2.0
// The measurement that works on every chip: a large copy inside device memory, timed by events.
#include "tessera/runtime/bandwidth.h"

#include "tessera/runtime/device.h"

namespace tessera::runtime {
namespace {

class CopyProbe final : public BandwidthProbe {
 public:
  static Result<std::unique_ptr<BandwidthProbe>> create(Device& device, size_t bytes) {
    auto probe = std::make_unique<CopyProbe>();
    TESSERA_ASSIGN(probe->from_, device.allocate(bytes));
    TESSERA_ASSIGN(probe->to_, device.allocate(bytes));
    TESSERA_ASSIGN(probe->stream_, device.create_stream());
    TESSERA_ASSIGN(probe->start_, device.create_event());
    TESSERA_ASSIGN(probe->stop_, device.create_event());
    TESSERA_TRY(probe->stream_->fill(*probe->from_, 0, bytes, 1));
    TESSERA_TRY(probe->stream_->fill(*probe->to_, 0, bytes, 2));
    TESSERA_TRY(probe->copy_rate());  // the first one is slow
    return std::unique_ptr<BandwidthProbe>(std::move(probe));
  }

  size_t bytes() const override { return from_->size(); }
  Result<double> read_rate() override { return 0.0; }
  Result<double> copy_rate() override {
    TESSERA_TRY(stream_->record(*start_));
    TESSERA_TRY(stream_->copy(*to_, 0, *from_, 0, from_->size()));
    TESSERA_TRY(stream_->record(*stop_));
    TESSERA_TRY(stream_->synchronize());
    TESSERA_ASSIGN(const double milliseconds, stop_->elapsed_ms_since(*start_));
    if (milliseconds <= 0) return 0.0;
    return 2e3 * static_cast<double>(from_->size()) / milliseconds;
  }

 private:
  std::unique_ptr<Buffer> from_, to_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Event> start_, stop_;
};

}  // namespace

Result<std::unique_ptr<BandwidthProbe>> Device::bandwidth_probe(const BandwidthOptions& options) {
  return CopyProbe::create(*this, options.bytes);
}

}  // namespace tessera::runtime
