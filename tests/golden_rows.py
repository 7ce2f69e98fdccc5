"""Every optimizer of torch, keras and optax that ours reproduce: their call and ours, each as the text that is run.

Plain data, so that it can be read where JAX or torch is missing. In the calls, `{rate}` stands for the learning rate, a
number or a schedule, and `params` for torch's list of parameters. Newton's methods have no counterpart: their steps are
written out with the gradient g, the Hessian H, its eigenvalues L and eigenvectors V.
"""

from typing import NamedTuple

STEPS, OWN_STEPS, DIGITS_EVERY, DIGITS_STRIDE = 200, 40, 10, 21

OURS_SCHEDULED = "jon.schedules.exponential({rate}, 0.99)"
THEIRS_SCHEDULED = {
    "torch": "torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)",
    "keras": "keras.optimizers.schedules.ExponentialDecay({rate}, 1, 0.99)",
    "optax": OURS_SCHEDULED,  # optax.exponential_decay is in float32 also where float64 is on
    "numpy": "({rate} * 0.99**step)",
}

RECIPES = '''
def torch_dampening(learning_rate, beta, dampening):
    """torch.optim.SGD with dampening: the velocity starts as the whole first gradient."""
    whole_first = jon.schedules.piecewise([1], [1 / (1 - dampening), 1.0])
    return optax.chain(optax.scale_by_schedule(whole_first), jon.momentum(learning_rate, beta, dampening))


def keras_adam(learning_rate, b1=0.9, b2=0.999, epsilon=1e-7, **more):
    """keras.optimizers.Adam, and AdamW with weight_decay: epsilon is not corrected for the start."""
    adam = jon.adamw if "weight_decay" in more else jon.adam

    def update(grads, state, params=None, **extra):
        eps = epsilon / jnp.sqrt(1 - b2 ** (state.count + 1.0))
        return adam(learning_rate, b1, b2, eps=eps, **more).update(grads, state, params, **extra)

    return optax.GradientTransformationExtraArgs(adam(learning_rate, **more).init, update)


def torch_cosine(initial, steps, final=0.0):
    """torch's CosineAnnealingLR, which goes up again after `steps`; `jon.schedules.cosine` stays at its end."""
    return lambda step: final + (initial - final) * (1 + jnp.cos(jnp.pi * jnp.asarray(step, float) / steps)) / 2
'''


class Row(NamedTuple):
    """One optimizer of another library, the call of ours that reproduces it, and the learning rate to run both at.

    `scheduled` is our call under a schedule where it is another one, and "" where there is no such run.
    """

    theirs: str
    ours: str
    rate: float
    scheduled: str | None = None
    note: str = ""

    @property
    def library(self) -> str:
        return self.theirs.split(".")[0]

    @property
    def schedules(self) -> tuple[bool, ...]:
        """Which runs there are: without a schedule, with one."""
        return (False,) if self.scheduled == "" else (False, True)

    def key(self, scheduled: bool) -> str:
        return self.theirs + (" scheduled" if scheduled else "")

    def their_call(self, scheduled: bool) -> str:
        rate = str(self.rate)
        if scheduled and self.library != "torch":  # torch changes the rate of a finished optimizer
            rate = THEIRS_SCHEDULED[self.library].format(rate=rate)
        return self.theirs.format(rate=rate)

    def our_call(self, scheduled: bool) -> str:
        if not scheduled:
            return self.ours.format(rate=self.rate)
        return (self.scheduled or self.ours).format(rate=OURS_SCHEDULED.format(rate=self.rate))


ROWS: dict[str, list[Row]] = {
    "gradient_descent": [
        Row("torch.optim.SGD(params, lr={rate})", "jon.gradient_descent({rate})", 1e-3, note="the same"),
        Row("keras.optimizers.SGD({rate})", "jon.gradient_descent({rate})", 1e-3, note="the same"),
        Row("optax.sgd({rate})", "jon.gradient_descent({rate})", 1e-3, note="the same"),
    ],
    "momentum": [
        Row(
            "torch.optim.SGD(params, lr={rate}, momentum=0.9)",
            "jon.momentum({rate}, beta=0.9)",
            1e-3,
            note="the same: v <- b v + g, x <- x - a v",
        ),
        Row(
            "torch.optim.SGD(params, lr={rate}, momentum=0.9, dampening=0.9)",
            "torch_dampening({rate}, beta=0.9, dampening=0.9)",
            1e-3,
            note="the first velocity is g, not (1 - d) g; from then on ours",
        ),
        Row(
            "torch.optim.SGD(params, lr={rate}, momentum=0.9, weight_decay=0.01)",
            "optax.chain(optax.add_decayed_weights(0.01), jon.momentum({rate}, beta=0.9))",
            1e-3,
            note="w x is added to the gradient, before the velocity",
        ),
        Row(
            "keras.optimizers.SGD({rate}, momentum=0.9)",
            "jon.momentum({rate}, beta=0.9)",
            1e-3,
            scheduled="optax.chain(optax.scale_by_schedule({rate}), jon.momentum(1.0, beta=0.9))",
            note="the rate is inside: v <- b v - a g, x <- x + v; the same while it is constant",
        ),
        Row("optax.sgd({rate}, momentum=0.9)", "jon.momentum({rate}, beta=0.9)", 1e-3, note="the same"),
        Row(
            "optax.chain(optax.ema(0.9, debias=False), optax.scale_by_learning_rate({rate}))",
            "jon.momentum({rate}, beta=0.9, dampening=0.9)",
            1e-3,
            note="the averaged form, v <- b v + (1 - b) g",
        ),
    ],
    "nesterov": [
        Row(
            "torch.optim.SGD(params, lr={rate}, momentum=0.9, nesterov=True)",
            "jon.nesterov({rate}, beta=0.9)",
            1e-3,
            note="the same",
        ),
        Row(
            "keras.optimizers.SGD({rate}, momentum=0.9, nesterov=True)",
            "jon.nesterov({rate}, beta=0.9)",
            1e-3,
            scheduled="optax.chain(optax.scale_by_schedule({rate}), jon.nesterov(1.0, beta=0.9))",
            note="the rate is inside the velocity; the same while it is constant",
        ),
        Row("optax.sgd({rate}, momentum=0.9, nesterov=True)", "jon.nesterov({rate}, beta=0.9)", 1e-3, note="the same"),
    ],
    "adagrad": [
        Row(
            "torch.optim.Adagrad(params, lr={rate})",
            "jon.adagrad({rate})",
            1e-2,
            note="the same: g / (sqrt(s) + 1e-10), s starts at 0",
        ),
        Row(
            "torch.optim.Adagrad(params, lr={rate}, lr_decay=0.05)",
            "jon.adagrad(jon.schedules.inverse_time({rate}, 0.05))",
            1e-2,
            scheduled="",
            note="lr_decay is a schedule: a / (1 + 0.05 step)",
        ),
        Row(
            "keras.optimizers.Adagrad({rate})",
            "jon.adagrad({rate}, eps=0.0, eps_root=1e-7, initial_accumulator=0.1)",
            1e-2,
            note="g / sqrt(s + 1e-7), s starts at 0.1",
        ),
        Row(
            "optax.adagrad({rate})",
            "jon.adagrad({rate}, eps=0.0, eps_root=1e-7, initial_accumulator=0.1)",
            1e-2,
            note="g / sqrt(s + 1e-7), s starts at 0.1",
        ),
    ],
    "adadelta": [
        Row("torch.optim.Adadelta(params, lr={rate})", "jon.adadelta({rate})", 1.0, note="the same"),
        Row(
            "keras.optimizers.Adadelta({rate})",
            "jon.adadelta({rate}, rho=0.95, eps=1e-7)",
            1.0,
            note="other numbers: r = 0.95, eps = 1e-7",
        ),
        Row("optax.adadelta({rate})", "jon.adadelta({rate})", 1.0, note="the same"),
    ],
    "rmsprop": [
        Row("torch.optim.RMSprop(params, lr={rate})", "jon.rmsprop({rate}, decay_rate=0.99)", 1e-2, note="r = 0.99"),
        Row(
            "torch.optim.RMSprop(params, lr={rate}, centered=True)",
            "jon.rmsprop({rate}, decay_rate=0.99, centered=True)",
            1e-2,
            note="r = 0.99",
        ),
        Row(
            "torch.optim.RMSprop(params, lr={rate}, momentum=0.9)",
            "jon.rmsprop({rate}, decay_rate=0.99, beta=0.9)",
            1e-2,
            note="r = 0.99; the rate is outside the velocity, as ours",
        ),
        Row(
            "torch.optim.RMSprop(params, lr={rate}, momentum=0.9, centered=True)",
            "jon.rmsprop({rate}, decay_rate=0.99, beta=0.9, centered=True)",
            1e-2,
            note="r = 0.99",
        ),
        Row(
            "keras.optimizers.RMSprop({rate})",
            "jon.rmsprop({rate}, eps=0.0, eps_root=1e-7)",
            1e-3,
            note="g / sqrt(n + 1e-7)",
        ),
        Row(
            "keras.optimizers.RMSprop({rate}, centered=True)",
            "jon.rmsprop({rate}, eps=0.0, eps_root=1e-7, centered=True)",
            1e-3,
            note="g / sqrt(n - m^2 + 1e-7)",
        ),
        Row(
            "keras.optimizers.RMSprop({rate}, momentum=0.9)",
            "jon.rmsprop({rate}, eps=0.0, eps_root=1e-7, beta=0.9)",
            1e-3,
            scheduled="optax.chain(jon.rmsprop({rate}, eps=0.0, eps_root=1e-7), optax.trace(0.9))",
            note="the rate is inside the velocity; the same while it is constant",
        ),
        Row("optax.rmsprop({rate})", "jon.rmsprop({rate}, eps=0.0, eps_root=1e-8)", 1e-3, note="g / sqrt(n + 1e-8)"),
        Row(
            "optax.rmsprop({rate}, eps_in_sqrt=False)",
            "jon.rmsprop({rate})",
            1e-3,
            note="the same: g / (sqrt(n) + 1e-8)",
        ),
        Row(
            "optax.rmsprop({rate}, centered=True)",
            "jon.rmsprop({rate}, eps=0.0, eps_root=1e-8, centered=True)",
            1e-3,
            note="g / sqrt(n - m^2 + 1e-8)",
        ),
        Row(
            "optax.rmsprop({rate}, momentum=0.9)",
            "jon.rmsprop({rate}, eps=0.0, eps_root=1e-8, beta=0.9)",
            1e-3,
            scheduled="optax.chain(jon.rmsprop({rate}, eps=0.0, eps_root=1e-8), optax.trace(0.9))",
            note="the rate is inside the velocity; the same while it is constant",
        ),
        Row(
            "optax.rmsprop({rate}, bias_correction=True)",
            "jon.rmsprop({rate}, eps=0.0, eps_root=1e-8, debias=True)",
            1e-3,
            note="n / (1 - r^t) in place of n",
        ),
    ],
    "adam": [
        Row("torch.optim.Adam(params, lr={rate})", "jon.adam({rate})", 1e-3, note="the same"),
        Row(
            "torch.optim.Adam(params, lr={rate}, weight_decay=0.01)",
            "optax.chain(optax.add_decayed_weights(0.01), jon.adam({rate}))",
            1e-3,
            note="w x is added to the gradient: not AdamW",
        ),
        Row(
            "keras.optimizers.Adam({rate})",
            "keras_adam({rate})",
            1e-3,
            note="epsilon hat: a m_hat / (sqrt(n_hat) + eps / sqrt(1 - b2^t)), eps = 1e-7",
        ),
        Row(
            "keras.optimizers.Adam({rate}, epsilon=1e-30)",
            "jon.adam({rate}, eps=0.0)",
            1e-3,
            note="without eps the two forms are one",
        ),
        Row("optax.adam({rate})", "jon.adam({rate})", 1e-3, note="the same"),
        Row(
            "torch.optim.Adam(params, lr={rate}, maximize=True)",
            "optax.chain(optax.scale(-1.0), jon.adam({rate}))",
            1e-3,
            note="climbs",
        ),
        Row(
            "torch.optim.Adam(params, lr={rate}, amsgrad=True)",
            "jon.adam({rate}, amsgrad=True)",
            1e-3,
            note="the largest n, then its correction",
        ),
        Row(
            "keras.optimizers.Adam({rate}, amsgrad=True)",
            "keras_adam({rate}, amsgrad=True)",
            1e-3,
            note="the largest n, then its correction; epsilon hat",
        ),
        Row(
            "optax.amsgrad({rate})",
            'jon.adam({rate}, amsgrad="corrected")',
            1e-3,
            note="the largest corrected n",
        ),
    ],
    "adamw": [
        Row("torch.optim.AdamW(params, lr={rate})", "jon.adamw({rate}, weight_decay=0.01)", 1e-3, note="w = 0.01"),
        Row(
            "keras.optimizers.AdamW({rate})",
            "keras_adam({rate}, weight_decay=0.004)",
            1e-3,
            note="epsilon hat as in Adam, w = 0.004",
        ),
        Row("optax.adamw({rate})", "jon.adamw({rate})", 1e-3, note="the same: w = 1e-4"),
        Row(
            "torch.optim.AdamW(params, lr={rate}, amsgrad=True)",
            "jon.adamw({rate}, weight_decay=0.01, amsgrad=True)",
            1e-3,
            note="w = 0.01",
        ),
    ],
    "adan": [
        Row(
            "optax.adan({rate})",
            "jon.adan({rate}, eps_root=1e-8, extrapolation=0.08)",
            1e-3,
            note="adds the share 1 - b2 of the change of the gradient, where the paper adds b2; eps inside too",
        ),
    ],
    "lion": [
        Row("keras.optimizers.Lion({rate})", "jon.lion({rate})", 1e-4, note="the same: no weight decay"),
        Row("optax.lion({rate}, weight_decay=0.0)", "jon.lion({rate})", 1e-4, note="the same; its default is w = 1e-3"),
    ],
    "newton": [
        Row(
            "numpy.linalg.solve(H + 3.0 * I, {rate} * g)",
            "jon.newton({rate}, damping=3.0)",
            1.0,
            note="the step written out; neither library has it",
        ),
        Row(
            "numpy.linalg.solve(H + 100.0 * I, {rate} * g)",
            "jon.newton({rate}, damping=100.0)",
            1.0,
            scheduled="",
            note="better conditioned, for float32",
        ),
    ],
    "saddle_free_newton": [
        Row(
            "numpy.dot(V / (abs(L) + 3.0), V.T @ ({rate} * g))",
            "jon.saddle_free_newton({rate}, damping=3.0)",
            0.5,
            note="H = V diag(L) V'",
        ),
        Row(
            "numpy.dot(V / (abs(L) + 100.0), V.T @ ({rate} * g))",
            "jon.saddle_free_newton({rate}, damping=100.0)",
            0.5,
            scheduled="",
            note="better conditioned, for float32",
        ),
    ],
}

# The libraries that do not have a method; where none has it, its rows are closed forms in numpy.
_ALL = ("torch", "keras", "optax")
MISSING = {"adan": ("torch", "keras"), "lion": ("torch",), "newton": _ALL, "saddle_free_newton": _ALL}


class ScheduleRow(NamedTuple):
    """One schedule of another library and ours with the same values; torch's are of an optimizer at the rate 1."""

    theirs: str
    ours: str

    @property
    def library(self) -> str:
        return self.theirs.split(".")[0]


TORCH, KERAS = "torch.optim.lr_scheduler.", "keras.optimizers.schedules."

SCHEDULE_ROWS = [
    ScheduleRow(TORCH + "ExponentialLR(optimizer, 0.98)", "jon.schedules.exponential(1.0, 0.98)"),
    ScheduleRow(
        TORCH + "LambdaLR(optimizer, lambda step: 1 / (1 + 0.05 * step))", "jon.schedules.inverse_time(1.0, 0.05)"
    ),
    ScheduleRow(TORCH + "StepLR(optimizer, 30, 0.5)", "jon.schedules.step_decay(1.0, 0.5, every=30)"),
    ScheduleRow(TORCH + "MultiStepLR(optimizer, [50, 120])", "jon.schedules.piecewise([50, 120], [1.0, 0.1, 0.01])"),
    ScheduleRow(TORCH + "LinearLR(optimizer, 0.1, 1.0, 50)", "jon.schedules.warmup(1.0, 50, initial=0.1)"),
    ScheduleRow(TORCH + "PolynomialLR(optimizer, 150, 2.0)", "jon.schedules.polynomial(1.0, 0.0, 150, power=2.0)"),
    ScheduleRow(TORCH + "CosineAnnealingLR(optimizer, 200, 0.1)", "jon.schedules.cosine(1.0, 200, final=0.1)"),
    ScheduleRow(TORCH + "CosineAnnealingLR(optimizer, 60, 0.1)", "torch_cosine(1.0, 60, final=0.1)"),
    ScheduleRow(KERAS + "ExponentialDecay(1.0, 30, 0.5)", "jon.schedules.exponential(1.0, 0.5, 30)"),
    ScheduleRow(
        KERAS + "ExponentialDecay(1.0, 30, 0.5, staircase=True)",
        "jon.schedules.exponential(1.0, 0.5, 30, staircase=True)",
    ),
    ScheduleRow(KERAS + "InverseTimeDecay(1.0, 30, 0.5)", "jon.schedules.inverse_time(1.0, 0.5, 30)"),
    ScheduleRow(
        KERAS + "PolynomialDecay(1.0, 150, 0.1, power=2.0)", "jon.schedules.polynomial(1.0, 0.1, 150, power=2.0)"
    ),
    ScheduleRow(KERAS + "CosineDecay(1.0, 150, alpha=0.1)", "jon.schedules.cosine(1.0, 150, final=0.1)"),
    ScheduleRow(
        KERAS + "CosineDecay(0.0, 150, warmup_target=1.0, warmup_steps=50)",
        "jon.schedules.warmup(jon.schedules.cosine(1.0, 150), 50)",
    ),
    ScheduleRow(
        KERAS + "PiecewiseConstantDecay([50, 120], [1.0, 0.1, 0.01])",
        "jon.schedules.piecewise([51, 121], [1.0, 0.1, 0.01])",
    ),
]

# Calls that look alike and are not the same: how far they are apart is measured, so that nobody has to guess.
LOOKALIKES = [
    Row(
        "torch.optim.SGD(params, lr={rate}, momentum=0.9, dampening=0.9)",
        "jon.momentum({rate}, beta=0.9, dampening=0.9)",
        1e-3,
    ),
    Row("keras.optimizers.SGD({rate}, momentum=0.9)", "jon.momentum({rate}, beta=0.9)", 1e-3),
    Row("keras.optimizers.SGD({rate}, momentum=0.9, nesterov=True)", "jon.nesterov({rate}, beta=0.9)", 1e-3),
    Row(
        "keras.optimizers.RMSprop({rate}, momentum=0.9)",
        "jon.rmsprop({rate}, eps=0.0, eps_root=1e-7, beta=0.9)",
        1e-3,
    ),
    Row("keras.optimizers.RMSprop({rate})", "jon.rmsprop({rate}, eps=1e-7)", 1e-3),
    Row("keras.optimizers.Adagrad({rate})", "jon.adagrad({rate}, eps=1e-7)", 1e-2),
    Row("keras.optimizers.Adam({rate})", "jon.adam({rate}, eps=1e-7)", 1e-3),
    Row("torch.optim.AdamW(params, lr={rate})", "jon.adamw({rate})", 1e-3),
    Row("torch.optim.Adam(params, lr={rate}, amsgrad=True)", 'jon.adam({rate}, amsgrad="corrected")', 1e-3),
    Row("optax.adan({rate})", "jon.adan({rate}, eps_root=1e-8)", 1e-3),
]
