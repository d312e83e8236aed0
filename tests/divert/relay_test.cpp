#include "divert/relay.h"
