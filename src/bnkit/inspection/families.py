"""What modules and functions do, in one word each, so that rules need not know torch's classes."""

from __future__ import annotations

from torch import nn

BATCH_NORM, NORM, OTHER = "batch-norm", "norm", "other"

# Base class → family; the first that fits counts, so subclasses of anybody's are known too.
_MODULES: tuple[tuple[str, tuple[type[nn.Module], ...]], ...] = (
    (BATCH_NORM, (nn.modules.batchnorm._BatchNorm,)),
    (
        NORM,
        (
            nn.modules.batchnorm._NormBase,
            nn.GroupNorm,
            nn.LayerNorm,
            nn.RMSNorm,
            nn.LocalResponseNorm,
            nn.CrossMapLRN2d,
        ),
    ),
    ("conv-transpose", (nn.modules.conv._ConvTransposeNd,)),
    ("conv", (nn.modules.conv._ConvNd,)),
    ("linear", (nn.Linear, nn.Bilinear)),
    ("embedding", (nn.Embedding, nn.EmbeddingBag)),
    ("recurrent", (nn.RNNBase, nn.RNNCellBase)),
    ("attention", (nn.MultiheadAttention,)),
    ("dropout", (nn.modules.dropout._DropoutNd,)),
    (
        "pool",
        (
            nn.modules.pooling._MaxPoolNd,
            nn.modules.pooling._AvgPoolNd,
            nn.modules.pooling._AdaptiveAvgPoolNd,
            nn.modules.pooling._AdaptiveMaxPoolNd,
            nn.modules.pooling._LPPoolNd,
            nn.FractionalMaxPool2d,
            nn.FractionalMaxPool3d,
        ),
    ),
    ("upsample", (nn.Upsample,)),
    ("reshape", (nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle)),
    ("identity", (nn.Identity,)),
)
_MODULE_HOMES = {
    "torch.nn.modules.activation": "activation",
    "torch.nn.modules.padding": "padding",
    "torch.nn.modules.loss": "loss",
}

_FUNCTIONS: dict[str, str] = {
    name: family
    for family, names in {
        BATCH_NORM: "batch_norm native_batch_norm cudnn_batch_norm sync_batch_norm",
        NORM: "layer_norm native_layer_norm group_norm native_group_norm instance_norm rms_norm "
        "local_response_norm",
        "conv": "conv1d conv2d conv3d conv_tbc convolution",
        "conv-transpose": "conv_transpose1d conv_transpose2d conv_transpose3d",
        "linear": "linear bilinear addmm matmul rmatmul imatmul mm bmm baddbmm addbmm einsum "
        "tensordot",
        "embedding": "embedding embedding_bag",
        "recurrent": "lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell",
        "attention": "scaled_dot_product_attention multi_head_attention_forward",
        "dropout": "dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout "
        "feature_dropout native_dropout",
        "activation": "relu relu6 leaky_relu rrelu prelu elu selu celu gelu silu mish hardswish "
        "hardsigmoid hardtanh sigmoid logsigmoid tanh tanhshrink softplus softsign softmax "
        "log_softmax softmin softshrink hardshrink threshold glu clamp clip clamp_min clamp_max",
        "pool": "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d lp_pool1d "
        "lp_pool2d lp_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d "
        "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d fractional_max_pool2d "
        "fractional_max_pool3d max_pool2d_with_indices",
        "reduce": "mean sum amax amin max min std var norm logsumexp",
        "upsample": "interpolate upsample upsample_nearest upsample_bilinear grid_sample",
        "padding": "pad constant_pad_nd",
        "reshape": "view reshape view_as reshape_as flatten unflatten squeeze unsqueeze ravel "
        "pixel_shuffle pixel_unshuffle channel_shuffle",
        "permute": "permute transpose movedim moveaxis swapaxes swapdims t T mT H mH adjoint",
        "concat": "cat concat concatenate stack hstack vstack dstack",
        "split": "chunk split tensor_split split_with_sizes unbind getitem narrow select "
        "index_select masked_select gather take",
        "add": "add radd iadd sub rsub isub addcmul addcdiv",
        "mul": "mul rmul imul div rdiv idiv truediv rtruediv itruediv",
        "identity": "contiguous clone detach to type type_as float double half bfloat16 cuda cpu "
        "alias requires_grad expand expand_as",
    }.items()
    for name in names.split()
}


def module_family(module: nn.Module) -> str:
    """Return what a module does: "conv", "dropout", "batch-norm" …, or "other"."""
    for family, bases in _MODULES:
        if isinstance(module, bases):
            return family
    for base in type(module).__mro__:
        if base.__module__ in _MODULE_HOMES:
            return _MODULE_HOMES[base.__module__]
    return OTHER


def function_family(name: str) -> str:
    """Return what a function does, by its full or its short name."""
    own = name.removesuffix(".__get__")  # of a property, such as mT
    short = own.rsplit(".", 1)[-1].removesuffix("_").strip("_")
    return _FUNCTIONS.get(short, OTHER)
