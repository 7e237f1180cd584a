"""What compiled kernels and the runtime share: where things lie in the context and in a thread's frame.

The context is an array of 64-bit words that belongs to one launch. A frame belongs to one thread: while the thread is
suspended it holds where to resume, what the thread waits for, and the registers that it needs afterwards.
"""

from __future__ import annotations

# Words of the context.
TURN = 0  # instructions a thread may run before it must let others run
EXECUTED = 1  # instructions that all threads have run
PARAMETERS = 2  # host address of the parameter space
SHARED = 3  # host address of the shared memory of the block that runs
SHARED_BYTES = 4
LOCAL = 5  # host address of the local memory of the block's first thread
LOCAL_STRIDE = 6
THREADS = 7  # host address of the coordinates of the block's threads, three 32-bit words each
ALLOCATIONS = 8  # host address of the table of allocations, ALLOCATION_WORDS each
ALLOCATION_COUNT = 9
CACHES = 10  # host address of the allocation each instruction used last, CACHE_WORDS each
SYMBOLS = 11  # host address of the device addresses of the module's variables
FAULT_ADDRESS = 12
FAULT_PC = 13
BLOCK = 14  # x, y, z of the block that runs
BLOCK_EXTENT = 17
GRID_EXTENT = 20
DYNAMIC_BYTES = 23
FIRST_LANE = 24  # lane of the block's first thread in its chunk of blocks
CURSOR = 25  # host address of the next row of events
CURSOR_LIMIT = 26  # beyond it, the rows must be consumed before a thread goes on
CONTINUES = 27  # 1 if a launch goes on after an invalid access
CHUNK = 28  # linear index of the chunk's first block
FIRST_FAULT = 29  # where a launch went on: position of the operation, -1 for none; address; thread; linear block
ROWS = 33  # bits of softgpu.events.Rows: those that are wanted
CLOCK = 34  # of synchronisations, as softgpu.native.filters says
EPOCH = 35  # when all that the block did before became ordered before what it does now
START = 36  # the clock at the launch's beginning
CELLS = 37  # host address of racecheck's cells of the shared memory of the block that runs
CELLS_MARKED = 38  # 1 if rows have been written of accesses to shared memory
SHARED_WRITTEN = 39  # from a host address in shared memory to its byte of what has been written
LOCAL_WRITTEN = 40
BEGAN = 41  # host address of the clock at which each block of the launch began
SLOTS = 42  # host address of which cells each block of the launch has: their number, in units of CELL_BYTES
ALL_CELLS = 43  # host address of the cells of all slots
CELL_BYTES = 44  # of the cells of a block
FIRST_THREAD = 45  # number in the launch of the block's first thread, plus 1
CELL_TURNS = 46  # how many blocks' cells a slot has
CELLS_USED = 47  # of how many blocks' cells the first have been used
GRID_ID = 48  # the launch's number
CONTEXT_WORDS = 49

# What is known of an allocation: base, size (in the cache of an instruction: reach), host address less base, distance
# from a host address to its byte of what has been written, and the address of its racecheck cells less four times its
# base. The last two are 0 if there are none.
ALLOCATION_WORDS = 5
WRITTEN, RACE_CELLS = 3, 4
CACHE_WORDS = ALLOCATION_WORDS

# Words of a frame.
RESUME = 0  # where to resume; 0 is the beginning
WAITS_AT = 1  # position of the operation at which the thread is suspended
EXCHANGE = 2  # what a suspended thread asks for, and what it gets
EXCHANGE_WORDS = 5
# What the thread knows, as softgpu.native.filters says: all that these lanes of its warp, and these warps of its block,
# did before a time. The time is in the low 32 bits, the mask above.
MET_LANES = EXCHANGE + EXCHANGE_WORDS
MET_WARPS = MET_LANES + 1
REGISTERS = MET_WARPS + 1

# What a thread returns, in the low bits; above STATUS_BITS, at a barrier that needs no operands but constants, the
# position of the instruction plus 1.
STATUS_BITS = 8
EXITED = 0
AT_BARRIER = 1  # exchange: number, thread count, what it does there (bits of softgpu.native.runtime), and its vote;
# the answer: how many voted yes, and how many arrived
AT_WARP = 2  # exchange: the kind of instruction, member mask, operands; the answer: the result and a predicate
YIELDED = 3
FULL = 4
FAULTED = 5
TRAPPED = 6
ILLEGAL = 7  # an index beyond the labels of a branch

# Where the answer to a suspended thread begins, in the exchange.
ANSWER = 1

# Kinds of warp-level instructions: these bits, and above them what tells the types of one kind apart.
KIND = 255
WARP_SYNC, SHUFFLE_UP, SHUFFLE_DOWN, SHUFFLE_BUTTERFLY, SHUFFLE_INDEX = range(5)
VOTE_ALL, VOTE_ANY, VOTE_UNIFORM, VOTE_BALLOT, MATCH_ANY, MATCH_ALL, ELECT = range(5, 12)
REDUCE_ADD, REDUCE_MIN, REDUCE_MAX, REDUCE_AND, REDUCE_OR, REDUCE_XOR = range(12, 18)
