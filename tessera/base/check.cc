// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/check.h"
