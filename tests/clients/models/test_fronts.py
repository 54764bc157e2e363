"""Fronts: each against a plain computation in numpy, and the steps that a chip is asked to do."""

import itertools
import math

import numpy as np
import pytest
import torch

from clients.models import Model, form_behind, front_of, name_front
from clients.models.scattering import scatter
from clients.protocol import Form
from privacy.errors import ModelError

SOUND = Form((8000,), 10, "sound", rate_hz=8000.0)
WINDOW = Form((6, 128), 12, "window", rate_hz=50.0)
COLOUR = Form((3, 16, 12), 10)


def plain_log_mel(sound, rate, frame, hop, num):
    """Frame by frame and band by band, with numpy's Fourier transform."""
    sound = sound - sound.mean()
    sound = sound / (np.sqrt(np.mean(sound**2)) + 1e-5)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame) / frame)
    edges = 700 * (np.exp(np.linspace(0, 1127 * np.log(1 + rate / 1400), num + 2) / 1127) - 1)
    frequencies = np.arange(frame // 2 + 1) * rate / frame
    out = []
    for start in range(0, len(sound) - frame + 1, hop):
        power = np.abs(np.fft.rfft(sound[start : start + frame] * window)) ** 2
        power /= np.sum(window**2)
        bands = []
        for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False):
            weights = np.interp(frequencies, [low, middle, high], [0, 1, 0], left=0, right=0)
            bands.append(np.log(np.sum(weights * power) / np.sum(weights) + 1e-5))
        out.append(bands)
    bands = np.array(out).T
    return (bands - bands.mean()) / (bands.std(ddof=1) + 1e-3)


@pytest.mark.parametrize(("rate", "frame", "hop"), [(8000, 256, 160), (16000, 512, 320)])
def test_log_mel_equals_its_definition(rate, frame, hop):
    rng = np.random.default_rng(rate)
    sounds = np.stack([
        0.3 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate),
        rng.normal(0, 0.01, rate),
        np.concatenate([rng.normal(0, 0.3, rate // 2), np.zeros(rate - rate // 2)]),
    ])  # fmt: skip
    front = front_of(Model(), SOUND._replace(shape=(rate,), rate_hz=float(rate)))
    assert front.shape == (40, 49)
    made = front(torch.from_numpy(sounds).float()).float().numpy()
    for sound, found in zip(sounds, made, strict=True):
        np.testing.assert_allclose(found, plain_log_mel(sound, rate, frame, hop, 40), atol=0.01)


def test_log_mel_hears_no_loudness_and_bears_silence():
    sound = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0)) * 0.1
    front = front_of(Model(), SOUND)
    loud, soft = front(sound), front(sound * 0.05)
    assert (loud - soft).abs().max() < 0.02
    assert front(torch.zeros(1, 8000)).abs().max() < 0.01


def test_a_slow_sensor_has_fewer_bands_and_none_is_empty():
    front = front_of(Model(), Form((2000,), 2, "sound", rate_hz=500.0))
    assert 1 < front.shape[0] < 40
    made = front(torch.rand(2, 2000) - 0.5)
    assert (made.float().std((0, 2)) > 0).all()


def spectrum_of(record):
    """Of one window [C, 128], as it is defined."""
    record = np.concatenate([record, np.sqrt(np.square(record.reshape(-1, 3, 128)).sum(1))])
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(128) / 128)
    mean = record.mean(1, keepdims=True)
    power = np.square(np.abs(np.fft.rfft((record - mean) * window))[:, 1:] * 2 / window.sum())
    limits = itertools.pairwise([0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 64])
    bands = np.stack([np.sqrt(power[:, a:b].sum(1)) for a, b in limits], 1)
    told = np.concatenate([record.std(1, keepdims=True), bands], 1)
    told = np.log(1 + 64 * told) / np.log(65)
    alike = (record - mean) / (record.std(1, keepdims=True) + 0.01)
    together = [0.3 * (a * b).mean() for a, b in itertools.combinations(alike, 2)]
    parts = record.reshape(-1, 4, 32).mean(2) - mean
    features = np.concatenate([mean.ravel(), parts.ravel(), told.ravel(), together])
    return 3 * features / np.linalg.norm(features)


def test_spectrum_equals_its_definition():
    windows = torch.rand(3, 6, 128, generator=torch.Generator().manual_seed(2)) * 2 - 1
    windows[0, 0] = 0.5 * torch.sin(2 * math.pi * 8 * torch.arange(128) / 128) + 0.25
    windows[1, 4] = 0.5  # nothing happens
    front = front_of(Model(front="spectrum"), WINDOW)
    assert front.shape == (8 * 16 + 28,)
    made = front(windows).float().numpy()
    for record, found in zip(windows.double().numpy(), made, strict=True):
        np.testing.assert_allclose(found, spectrum_of(record), atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 3, rtol=1e-3)


def test_spectrum_of_the_same_wave_later_is_the_same_in_its_bands():
    front = front_of(Model(front="spectrum"), WINDOW)
    wave = torch.sin(2 * math.pi * 5 * torch.arange(128) / 128).expand(1, 6, 128)
    assert (front(wave) - front(wave.roll(17, 2))).abs()[:, 8 * 5 :].max() < 0.01


def test_spectrum_does_not_see_how_a_sensor_is_turned_in_its_length():
    front = front_of(Model(front="spectrum"), WINDOW)
    windows = torch.rand(2, 6, 128, generator=torch.Generator().manual_seed(3)) - 0.5
    turned = torch.cat(
        [windows[:, [1, 0, 2]] * torch.tensor([-1, 1, 1])[:, None], windows[:, 3:]], 1
    )
    # The norm of all features is another: only ratios of what belongs to the lengths stay.
    one, other = (front(w).float()[:, 8 * 5 :] for w in (windows, turned))
    one, other = (w[:, : 8 * 11].reshape(2, 8, 11)[:, 6:].flatten(1) for w in (one, other))
    torch.testing.assert_close(one / one.norm(), other / other.norm(), atol=2e-3, rtol=0)


@pytest.mark.parametrize("shape", [(1, 2), (3, 3), (5, 17), (40,)])
def test_spectrum_of_any_window_has_the_size_it_says(shape):
    front = front_of(Model(front="spectrum"), WINDOW._replace(shape=shape))
    assert front(torch.rand(2, *shape)).shape == (2, *front.shape)
    assert front(torch.zeros(1, *shape)).isfinite().all()


def test_scatter_of_colour_is_that_of_brightness_and_its_differences():
    images = torch.rand(4, *COLOUR.shape)
    front = front_of(Model(name="scatter"), COLOUR)
    red, green, blue = images.unbind(1)
    bright = 0.299 * red + 0.587 * green + 0.114 * blue
    told = (bright, (blue - bright) / 1.772, (red - bright) / 1.402)
    parts = torch.cat([scatter(channel) for channel in told], 1)
    made = front(images)
    assert made.shape == (4, *front.shape) == (4, 3 * 81 * 4 * 3)
    groups = parts.view(4, 27, -1)
    mean, deviation = groups.mean(2, keepdim=True), groups.var(2, correction=0, keepdim=True).sqrt()
    expected = (groups - mean) / (deviation**2 + 1e-5).sqrt()
    assert torch.allclose(made.float(), expected.flatten(1), atol=0.02, rtol=0.02)


@pytest.mark.parametrize(
    ("model", "form"),
    [
        (Model(name="scatter"), COLOUR),
        (Model(name="scatter"), COLOUR._replace(shape=(16, 12))),
        (Model(name="linear", front="strokes"), COLOUR),
        (Model(name="linear", front="shapes"), COLOUR),
        (Model(), SOUND),
        (Model(front="spectrum"), WINDOW),
    ],
)
def test_steps_end_in_what_is_given(model, form):
    front = front_of(model, form)
    steps = front.steps()
    assert steps[-1].size == math.prod(front.shape)
    for place, step in enumerate(steps):
        assert all(-1 <= at < place for at in step.reads)
        if step.product:
            groups, positions, _, outputs, _ = step.product
            assert step.size == groups * positions * outputs
    assert front(torch.rand(2, *form.shape)).shape == (2, *front.shape)
    assert form_behind(model, form).shape == front.shape


def test_more_channels_are_more_work_but_no_more_weights():
    def weights(form, repeated):
        products = [s.product for s in front_of(Model(name="scatter"), form).steps() if s.product]
        return sum(p.groups * p.depth * p.outputs for p in products if p.repeated is repeated)

    grey = COLOUR._replace(shape=COLOUR.shape[1:])
    assert weights(COLOUR, False) == weights(grey, False) + 9  # how colours are mixed
    both = weights(grey, False) + weights(grey, True)
    assert weights(COLOUR, True) + weights(COLOUR, False) == 3 * both + 9


def test_sounds_have_a_front_of_their_own():
    assert name_front(Model(name="ds-cnn"), SOUND) == "log-mel"
    assert name_front(Model(name="ds-cnn", front="none"), SOUND) == "none"
    assert name_front(Model(name="cnn1d"), WINDOW) == "none"


def test_what_a_model_gives_back_is_what_it_reads():
    """And where there are as many classes by chance, they stay as many."""
    many = SOUND._replace(outputs=8000)
    assert form_behind(Model(name="autoencoder"), many._replace(itself=True)).outputs == 40 * 49
    assert form_behind(Model(name="ds-cnn"), many).outputs == 8000
    assert form_behind(Model(name="ds-cnn"), SOUND).outputs == 10


@pytest.mark.parametrize(
    ("front", "form", "told"),
    [
        ("log-mel", WINDOW, "reads sounds of a known rate"),
        ("log-mel", SOUND._replace(rate_hz=0.0), "reads sounds of a known rate"),
        ("log-mel", SOUND._replace(shape=(200,)), "shorter than a frame, 256 at 8000 Hz"),
        ("spectrum", COLOUR, "reads windows"),
        ("spectrum", WINDOW._replace(shape=(6, 1)), "takes 2 to 4096"),
        ("spectrum", SOUND, "takes 2 to 4096"),
        ("scatter", WINDOW, "reads pictures"),
        ("strokes", WINDOW, "reads pictures"),
        ("shapes", WINDOW, "reads pictures"),
    ],
)
def test_a_front_that_cannot_read_a_form_says_so_in_one_line(front, form, told):
    with pytest.raises(ModelError, match=rf"^\[model\] front = '{front}': .*{told}.*") as found:
        front_of(Model(front=front), form)
    assert len(str(found.value).splitlines()) == 1
