// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/result.h"
