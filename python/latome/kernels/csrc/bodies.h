// What is compiled once per instruction set; no include guards here or below.
#include "vector.h"
#include "counts.h"
#include "mixture.h"
#include "bernoulli.h"
#include "layers.h"
#include "narrow.h"
#include "adam.h"
#include "changes.h"
