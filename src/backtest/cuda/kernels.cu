// Sweeps on a GPU: one thread per parameter set, all bars from first to last.
//
// The arithmetic is that of the lanes (`src/backtest/lanes`), operation by operation in the same order, compiled
// without fused multiply-adds, so that both give the same numbers. Prices and given signals are read by all threads of
// a warp at one address, indicators bar by bar side by side. Compiled by NVRTC at run time; the tests compile it for a
// CPU as well, so nothing here is more than C++ with the built-in names of a kernel.

// What all sets share; `Shared` in pack.rs.
struct Shared {
    double init_cash;
    double min_size;
    double required;
    double threshold;
    int bars;
    int sets;
    int rows;
    int columns;
    int place[4];
    int delayed;
    int given;
};

// Columns of the terms: value k of set i is terms[k * sets + i].
enum Term { FEES, FIXED, SLIPPAGE, STOP, TARGET, TRAILS };

// Columns of the results, in the same layout.
enum Total {
    FINAL_VALUE,
    WORST,
    LOWEST,
    SUM,
    SQUARES,
    GAINS,
    LOSSES,
    DOWNSIDE,
    CLOSED,
    WINS,
    LOSING,
    WON,
    LOST,
    PAID,
    OPEN,
    ODD
};

// Bars whose returns are summed up before they join the compensated sum.
const int CHUNK = 512;

// Where a series was last seen.
enum Side { NOWHERE, BELOW, ABOVE };

// A sum with what rounding lost of it (Knuth's two-sum).
struct Sum {
    double total;
    double error;
};

static __device__ __forceinline__ void add(Sum &sum, double term) {
    double total = sum.total + term;
    double share = total - sum.total;
    sum.error = sum.error + ((sum.total - (total - share)) + (term - share));
    sum.total = total;
}

// One side of a comparison: a row, a row plus a multiple of another, or a number.
struct Operand {
    int base;
    int width;
    double factor;
};

static __device__ __forceinline__ double value_of(const Operand &operand, const double *__restrict__ bar) {
    if (operand.base < 0) {
        return operand.factor;
    }
    double base = bar[operand.base];
    return operand.width < 0 ? base : base + operand.factor * bar[operand.width];
}

// When a signal is given: the first comes to lie above the second, or lies above it.
struct Condition {
    int crosses;
    Operand left;
    Operand right;
    int side;
};

static __device__ __forceinline__ bool holds(Condition &condition, const double *__restrict__ bar) {
    double left = value_of(condition.left, bar);
    double right = value_of(condition.right, bar);
    if (!condition.crosses) {
        return left > right;
    }
    bool crossed = false;
    if (left > right) {
        crossed = condition.side == BELOW;
        condition.side = ABOVE;
    } else if (left < right) {
        condition.side = BELOW;
    } else if (left != right) {
        condition.side = NOWHERE;
    }
    return crossed;
}

static __device__ __forceinline__ Condition condition_of(
    const int *__restrict__ kinds, const double *__restrict__ factors, int which, int set, int sets) {
    Condition condition;
    const int *kind = kinds + which * 5 * sets + set;
    const double *factor = factors + which * 2 * sets + set;
    condition.crosses = kind[0];
    condition.left.base = kind[sets];
    condition.left.width = kind[2 * sets];
    condition.left.factor = factor[0];
    condition.right.base = kind[3 * sets];
    condition.right.width = kind[4 * sets];
    condition.right.factor = factor[sets];
    condition.side = NOWHERE;
    return condition;
}

// One account.
struct Account {
    double cash, position;
    double entry_value, entry_fees;
    double stop, anchor, target, stop_factor;
    double closed, wins, losing, won, lost, paid;
    bool odd;
};

// What a set trades under.
struct Terms {
    double fees, fixed, slippage, stop, target;
    bool trails;
};

static __device__ __forceinline__ void book(Account &account, double profit) {
    account.closed += 1.0;
    if (profit > 0.0) {
        account.wins += 1.0;
        account.won = account.won + profit;
    } else if (profit < 0.0) {
        account.losing += 1.0;
        account.lost = account.lost + profit;
    }
}

// What `size` cost when the open trade was entered.
static __device__ __forceinline__ double entered(const Account &account, double size) {
    return account.entry_value / size * size;
}

// Without stop loss or take profit their distance is infinite, and so is the price they are met at.
static __device__ __forceinline__ void set_stops(Account &account, const Terms &terms, double close, double way) {
    account.stop_factor = way > 0.0 ? 1.0 - terms.stop : 1.0 + terms.stop;
    account.anchor = close;
    account.stop = close * account.stop_factor;
    account.target = close * (way > 0.0 ? 1.0 + terms.target : 1.0 - terms.target);
}

// Buys for all cash; what is short is bought back by the same order.
template <bool SHORTS, bool STOPS>
static __device__ __forceinline__ void enter_long(
    Account &account, const Terms &terms, const Shared &shared, double fill, double close) {
    double price = fill * (1.0 + terms.slippage);
    double spent = (account.cash - terms.fixed) / (1.0 + terms.fees);
    double size = spent / price;
    double fees = account.cash - spent;
    if (!(spent > 0.0 && shared.min_size <= size)) {
        return;
    }
    double position = size;
    double entry_fees = fees;
    if (SHORTS && account.position < 0.0) {
        position = account.position + size;
        account.odd |= !(shared.min_size <= position);
        double covered = 0.0 - account.position;
        double share = fees * (covered / size);
        book(account, entered(account, covered) - price * covered - account.entry_fees - share);
        entry_fees = fees - share;
    }
    account.cash = 0.0;
    account.position = position;
    account.entry_value = position * price;
    account.entry_fees = entry_fees;
    account.paid = account.paid + fees;
    if (STOPS) {
        set_stops(account, terms, close, 1.0);
    }
}

static __device__ __forceinline__ void close_long(Account &account, const Terms &terms, double price) {
    double gross = account.position * price;
    double fees = gross * terms.fees + terms.fixed;
    double net = gross - fees;
    account.odd |= net < 0.0;
    book(account, price * account.position - entered(account, account.position) - account.entry_fees - fees);
    account.cash = account.cash + net;
    account.position = 0.0;
    account.paid = account.paid + fees;
}

static __device__ __forceinline__ void cover(Account &account, const Terms &terms, double price) {
    double size = 0.0 - account.position;
    double gross = size * price;
    double fees = gross * terms.fees + terms.fixed;
    double need = gross + fees;
    account.odd |= account.cash < need;
    book(account, entered(account, size) - price * size - account.entry_fees - fees);
    account.cash = account.cash - need;
    account.position = 0.0;
    account.paid = account.paid + fees;
}

// Sells short as much as cash covers; what is long is sold by the same order.
template <bool STOPS>
static __device__ __forceinline__ void enter_short(
    Account &account, const Terms &terms, const Shared &shared, double fill, double close) {
    double price = fill * (1.0 - terms.slippage);
    double held = account.position * price * (1.0 - terms.fees);
    double free = account.cash + held - terms.fixed;
    double opened = free / (price * (1.0 + terms.fees));
    double size = opened + account.position;
    double gross = size * price;
    double fees = gross * terms.fees + terms.fixed;
    account.odd |= !(shared.min_size <= opened && opened > 0.0);
    double entry_fees = fees;
    if (account.position > 0.0) {
        double share = fees * (account.position / size);
        book(account, price * account.position - entered(account, account.position) - account.entry_fees - share);
        entry_fees = fees - share;
    }
    double position = account.position - size;
    account.cash = account.cash + (gross - fees);
    account.position = position;
    account.entry_value = (0.0 - position) * price;
    account.entry_fees = entry_fees;
    account.paid = account.paid + fees;
    if (STOPS) {
        set_stops(account, terms, close, -1.0);
    }
}

// Whether the bar meets stop loss or take profit, and at which price; then lets a trailing stop follow.
template <bool SHORTS>
static __device__ __forceinline__ bool stopped(
    Account &account, const Terms &terms, double open, double high, double low, double &price) {
    bool is_long = account.position > 0.0;
    if (!is_long && !(SHORTS && account.position < 0.0)) {
        return false;
    }
    bool lost = is_long ? low <= account.stop : account.stop <= high;
    bool won = is_long ? account.target <= high : low <= account.target;
    if (lost) {
        price = is_long == (open < account.stop) ? open : account.stop;
    } else if (won) {
        price = is_long == (open > account.target) ? open : account.target;
    }
    if (terms.trails) {
        double extreme = is_long ? (account.anchor > high ? account.anchor : high)
                                 : (account.anchor < low ? account.anchor : low);
        account.anchor = extreme;
        account.stop = extreme * account.stop_factor;
    }
    return lost || won;
}

template <bool SHORTS, bool STOPS>
static __device__ __forceinline__ void sweep(
    Shared shared, const double *__restrict__ market, const unsigned char *__restrict__ tradable,
    const double *__restrict__ rows, const unsigned char *__restrict__ signals, const int *__restrict__ kinds,
    const double *__restrict__ factors, const double *__restrict__ terms_of, double *__restrict__ out) {
    int set = blockIdx.x * blockDim.x + threadIdx.x;
    int sets = shared.sets;
    if (set >= sets) {
        return;
    }
    const double *closes = market, *fills = market + shared.bars, *opens = market + 2L * shared.bars,
                 *highs = market + 3L * shared.bars, *lows = market + 4L * shared.bars;
    Terms terms;
    terms.fees = terms_of[FEES * sets + set];
    terms.fixed = terms_of[FIXED * sets + set];
    terms.slippage = terms_of[SLIPPAGE * sets + set];
    terms.stop = terms_of[STOP * sets + set];
    terms.target = terms_of[TARGET * sets + set];
    terms.trails = terms_of[TRAILS * sets + set] > 0.5;
    Condition entry, exit;
    int column = 0;
    if (shared.given) {
        column = kinds[set];
    } else {
        entry = condition_of(kinds, factors, 0, set, sets);
        exit = condition_of(kinds, factors, 1, set, sets);
    }
    Account account = {shared.init_cash, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, false};
    double value = shared.init_cash, peak = 0.0, worst = 1.0, lowest = shared.init_cash;
    Sum sum = {0, 0}, squares = {0, 0}, gains = {0, 0}, losses = {0, 0}, downside = {0, 0};
    unsigned carried = 0;
    for (int start = 0; start < shared.bars; start += CHUNK) {
        double part_sum = 0, part_squares = 0, part_gains = 0, part_losses = 0, part_downside = 0;
        int end = start + CHUNK < shared.bars ? start + CHUNK : shared.bars;
        for (int bar = start; bar < end; bar++) {
            // The four signals as bits: entry, exit, short entry, short exit.
            unsigned bits;
            if (shared.given) {
                bits = signals[(long)bar * shared.columns + column];
            } else {
                const double *row = rows + (long)bar * shared.rows;
                bits = (holds(entry, row) ? 1u : 0u) | (holds(exit, row) ? 2u : 0u);
            }
            if (shared.delayed) {
                unsigned now = bits;
                bits = carried;
                carried = now;
            }
            if (!tradable[bar]) {
                bits = 0;
            }
            bool one = (bits >> shared.place[0]) & 1, two = (bits >> shared.place[1]) & 1;
            bool three = (bits >> shared.place[2]) & 1, four = (bits >> shared.place[3]) & 1;
            bool to_long = one && !two, to_short = three && !four;
            bool long_entry = to_long && !to_short, long_exit = two && !one;
            bool short_entry = to_short && !to_long, short_exit = four && !three;

            double close = closes[bar], fill = fills[bar];
            double stop_price = close;
            if (STOPS && stopped<SHORTS>(account, terms, opens[bar], highs[bar], lows[bar], stop_price)) {
                if (!SHORTS || account.position > 0.0) {
                    close_long(account, terms, stop_price);
                } else {
                    cover(account, terms, stop_price);
                }
            } else if (account.position > 0.0) {
                if (SHORTS && short_entry) {
                    enter_short<STOPS>(account, terms, shared, fill, close);
                } else if (long_exit) {
                    close_long(account, terms, fill * (1.0 - terms.slippage));
                }
            } else if (SHORTS && account.position < 0.0) {
                if (long_entry) {
                    enter_long<SHORTS, STOPS>(account, terms, shared, fill, close);
                } else if (short_exit) {
                    cover(account, terms, fill * (1.0 + terms.slippage));
                }
            } else if (long_entry) {
                enter_long<SHORTS, STOPS>(account, terms, shared, fill, close);
            } else if (SHORTS && short_entry) {
                enter_short<STOPS>(account, terms, shared, fill, close);
            }

            double now = account.cash + account.position * close;
            double earned = (now - value) / value;
            value = now;
            lowest = now < lowest ? now : lowest;
            peak = now > peak ? now : peak;
            double share = now / peak;
            worst = share < worst ? share : worst;
            part_sum = part_sum + earned;
            part_squares = part_squares + earned * earned;
            double beyond = earned - shared.threshold;
            part_gains = part_gains + (beyond > 0.0 ? beyond : 0.0);
            part_losses = part_losses + (beyond < 0.0 ? beyond : 0.0);
            double below = earned - shared.required;
            below = below < 0.0 ? below : 0.0;
            part_downside = part_downside + below * below;
        }
        add(sum, part_sum);
        add(squares, part_squares);
        add(gains, part_gains);
        add(losses, part_losses);
        add(downside, part_downside);
    }
    out[FINAL_VALUE * sets + set] = value;
    out[WORST * sets + set] = worst;
    out[LOWEST * sets + set] = lowest;
    out[SUM * sets + set] = sum.total + sum.error;
    out[SQUARES * sets + set] = squares.total + squares.error;
    out[GAINS * sets + set] = gains.total + gains.error;
    out[LOSSES * sets + set] = losses.total + losses.error;
    out[DOWNSIDE * sets + set] = downside.total + downside.error;
    out[CLOSED * sets + set] = account.closed;
    out[WINS * sets + set] = account.wins;
    out[LOSING * sets + set] = account.losing;
    out[WON * sets + set] = account.won;
    out[LOST * sets + set] = account.lost;
    out[PAID * sets + set] = account.paid;
    out[OPEN * sets + set] = account.position != 0.0 ? 1.0 : 0.0;
    out[ODD * sets + set] = account.odd ? 1.0 : 0.0;
}

// One entry per kind of sweep, so that threads carry no register for what no set needs.
#define SWEEP(NAME, SHORTS, STOPS)                                                                                     \
    extern "C" __global__ void __launch_bounds__(128) NAME(                                                            \
        Shared shared, const double *__restrict__ market, const unsigned char *__restrict__ tradable,                  \
        const double *__restrict__ rows, const unsigned char *__restrict__ signals, const int *__restrict__ kinds,     \
        const double *__restrict__ factors, const double *__restrict__ terms, double *__restrict__ out) {              \
        sweep<SHORTS, STOPS>(shared, market, tradable, rows, signals, kinds, factors, terms, out);                     \
    }

SWEEP(sweep_long, false, false)
SWEEP(sweep_long_stops, false, true)
SWEEP(sweep_both, true, false)
SWEEP(sweep_both_stops, true, true)
