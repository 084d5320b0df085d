"""What a user may type, and what the defaults stand for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from bnkit.bench.cases import (
    QUICK_SHAPES,
    RESNET50_SHAPES,
    THREE_CONV_SHAPES,
    BenchSettings,
    Case,
    shape_text,
)
from bnkit.bench.options import QUICK_SECONDS_PER_CASE, read_settings
from bnkit.errors import ArgumentError
from bnkit.lab.networks.three_conv import three_conv


def test_nothing_given_is_the_default():
    settings = read_settings()
    assert settings == BenchSettings()
    assert settings.shapes == RESNET50_SHAPES + THREE_CONV_SHAPES
    assert len(list(settings.cases())) == 14 * 2 * 3


def test_quick_is_fewer_shapes_less_time_and_no_compiler():
    settings = read_settings(quick=True)
    assert settings.shapes == QUICK_SHAPES
    assert set(QUICK_SHAPES) < set(RESNET50_SHAPES + THREE_CONV_SHAPES)
    assert settings.seconds_per_case == QUICK_SECONDS_PER_CASE < BenchSettings().seconds_per_case
    assert not settings.compiles
    assert read_settings(quick=True, compiles=True).compiles
    assert read_settings(quick=True, shapes=["8x16"]).shapes == ((8, 16),)


def test_lists_with_commas_and_repeated_options_are_one_list():
    settings = read_settings(
        shapes=["8x16, 4X3x5", "three-conv,8×16"],
        dtypes=["bfloat16,float32", "bfloat16"],
        layouts=["contiguous"],
        operations=["bn"],
        modes=["eval,training"],
        passes=["forward"],
    )
    assert settings.shapes == ((8, 16), (4, 3, 5), *THREE_CONV_SHAPES)
    assert settings.dtypes == ("bfloat16", "float32")
    assert settings.modes == ("eval", "training")
    assert settings.passes == ("forward",)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shapes": ["32x64x"]}, "--shapes got '32x64x'; it takes shapes such as 32x64x56x56, and"),
        ({"shapes": ["resnet5"]}, "the names resnet50, three-conv. Did you mean 'resnet50'?"),
        ({"shapes": ["8"]}, "which has 1 axis; a shape is (N, C, *S), with 2 to 5 axes"),
        ({"shapes": ["1x2x3x4x5x6"]}, "which has 6 axes"),
        ({"shapes": ["8x0"]}, "an empty tensor; each axis has at least 1 value"),
        ({"shapes": ["1x8"]}, "1x8, one value per channel; training statistics need at least two"),
        ({"shapes": [","]}, "--shapes got ','; it takes shapes"),
        ({"shapes": ["9999x9999x999"]}, "GiB are free. Use a smaller shape"),
        ({"dtypes": ["fp32"]}, "'fp32'; it takes float32, bfloat16, float16, float64"),
        ({"layouts": ["nhwc"]}, "--layout got 'nhwc'; it takes contiguous, channels-last"),
        ({"layouts": ["channel-last"]}, "Did you mean 'channels-last'?"),
        ({"operations": ["bn,relu"]}, "--operation got 'relu'; it takes bn, bn-relu, bn-add-relu"),
        ({"modes": ["train"]}, "--mode got 'train'; it takes training, eval"),
        ({"passes": ["backward"]}, "--pass got 'backward'; it takes both, forward"),
        ({"threads": 0}, "--threads got 0; it must be at least 1"),
        ({"threads": 10_000}, f"this machine has {os.cpu_count()} processors"),
        ({"rounds": -1}, "--rounds got -1; it must be at least 1"),
        (
            {"shapes": ["8x16"], "layouts": ["channels-last"]},
            "--layout got channels-last for 8x16; it needs shapes of 4 or 5 axes",
        ),
    ],
)
def test_a_wrong_value_is_one_message_with_the_right_ones(given, message):
    with pytest.raises(ArgumentError) as caught:
        read_settings(**given)
    assert message in str(caught.value)


def test_one_value_per_channel_is_fine_in_eval_mode():
    assert read_settings(shapes=["1x8"], modes=["eval"]).shapes == ((1, 8),)


def test_a_shape_without_channels_last_form_has_no_such_case():
    cases = list(read_settings(shapes=["8x16,2x3x4x5"], operations=["bn"]).cases())
    assert [(case.shape, case.layout) for case in cases] == [
        ((8, 16), "contiguous"),
        ((2, 3, 4, 5), "contiguous"),
        ((2, 3, 4, 5), "channels-last"),
    ]


def test_a_case_says_what_it_is():
    case = Case((32, 64, 56, 56), dtype="bfloat16", layout="channels-last", operation="bn")
    assert str(case) == "32x64x56x56 bn bfloat16 channels-last training"
    assert case.tensor_mib == 32 * 64 * 56 * 56 * 2 / 2**20


def test_the_shapes_of_resnet50_are_those_of_its_table():
    """He et al. 2015, table 1: stages of (blocks, width, pixels), the stride in the 3×3."""
    shapes = [(32, 64, 112, 112)]
    before = 56
    for blocks, width, pixels in ((3, 64, 56), (4, 128, 28), (6, 256, 14), (3, 512, 7)):
        for block in range(blocks):
            first = before if block == 0 else pixels  # its 1×1 comes before the stride
            shapes += [(32, width, first, first)]
            shapes += [(32, width, pixels, pixels), (32, 4 * width, pixels, pixels)]
            shapes += [(32, 4 * width, pixels, pixels)] if block == 0 else []
        before = pixels
    assert len(shapes) == 53
    assert set(shapes) == set(RESNET50_SHAPES)
    assert len(RESNET50_SHAPES) == len(set(RESNET50_SHAPES))


@pytest.mark.parametrize("shape", THREE_CONV_SHAPES, ids=shape_text)
def test_the_shapes_of_three_conv_are_those_of_the_lab_s_network(shape):
    network = three_conv((1, *shape[2:]), classes=10)
    seen = []
    for layer in network:
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
    network(torch.zeros(2, 1, *shape[2:]))
    assert seen == [(2, *shape[1:])] * 3
    assert shape[0] == 256


def test_a_wrong_value_is_found_before_torch_is_loaded():
    code = "import sys, bnkit.bench.options; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "set()"
