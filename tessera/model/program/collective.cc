// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/program/collective.h"

#include "tessera/base/check.h"

namespace tessera::model {

Result<> run(const Collective& collective, runtime::Stream& stream, const comm::Region& from,
             const comm::Region& to, const comm::Region& wanted) {
  comm::Communicator* const comm = collective.comm;
  TESSERA_CHECK(comm, "a planned program runs");
  switch (collective.kind) {
    case Collective::Kind::all_reduce:
      return comm->all_reduce(stream, collective.dtype, to, collective.how);
    case Collective::Kind::reduce_scatter:
      return comm->reduce_scatter(stream, collective.dtype, from, to, collective.how);
    case Collective::Kind::all_gather: return comm->all_gather(stream, from, to);
    case Collective::Kind::dispatch: return comm->dispatch(stream, from, to, wanted);
    case Collective::Kind::combine: return comm->combine(stream, from, to, wanted);
    case Collective::Kind::broadcast: return comm->broadcast(stream, to, collective.root);
  }
  return {};
}

}  // namespace tessera::model
