"""What layers calculate, as functions: ``import minigrad.nn.functional as F``. The operations, by family, under one roof."""

from minigrad.ops.activation import *
from minigrad.ops.conv import *
from minigrad.ops.dropout import *
from minigrad.ops.functions import tanh
from minigrad.ops.linalg import linear
from minigrad.ops.loss import *
from minigrad.ops.mean_pool import *
from minigrad.ops.movement import flatten, pad
from minigrad.ops.norm import *
from minigrad.ops.pool import *
from minigrad.ops.softmax import *
