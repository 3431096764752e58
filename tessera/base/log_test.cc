// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/log.h"

#include <gtest/gtest.h>
