// SPDX-License-Identifier: Apache-2.0
#include "tessera/engine/answer.h"

namespace tessera::engine {

std::string_view name(FinishReason reason) {
  switch (reason) {
    case FinishReason::end_token: return "end";
    case FinishReason::stop_text: return "stop";
    case FinishReason::length: return "length";
    case FinishReason::context: return "context";
    case FinishReason::cancelled: return "cancelled";
  }
  return "";
}

}  // namespace tessera::engine
