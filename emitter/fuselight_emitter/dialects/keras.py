"""Keras 3, as of keras 3.15: https://keras.io/api/layers/ and https://keras.io/api/ops/.

Defaults that differ from PyTorch's: `gelu` is the tanh approximation unless `approximate=False` (and
`keras.activations.gelu` is not, so it is no spelling of it); `leaky_relu` has slope 0.2, its layer 0.3; `var` and `std`
divide by the count; `split` takes indices; `dot_product_attention` reads batch, length, heads, features; the
cross-entropies take the target first.
"""

from __future__ import annotations

from fuselight_emitter.dialects.base import Dialect, Function, RequiredImport, under

_LAYERS = under(
    "keras.layers",
    """
    Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D
    AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add AdditiveAttention AlphaDropout Attention AugMix
    AutoContrast Average AveragePooling1D AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D AvgPool3D
    BatchNormalization Bidirectional CategoryEncoding CenterCrop Concatenate
    ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose
    ConvLSTM1D ConvLSTM2D ConvLSTM3D Convolution1D Convolution1DTranspose Convolution2D Convolution2DTranspose
    Convolution3D Convolution3DTranspose Cropping1D Cropping2D Cropping3D CutMix Dense DepthwiseConv1D DepthwiseConv2D
    Discretization Dot Dropout ELU EinsumDense Embedding Equalization Flatten FlaxLayer GRU GRUCell GaussianDropout
    GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalAvgPool1D
    GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D GlobalMaxPooling1D
    GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization GroupQueryAttention HashedCrossing Hashing Identity
    InputLayer IntegerLookup JaxLayer LSTM LSTMCell Lambda LayerNormalization LeakyReLU Masking MaxNumBoundingBoxes
    MaxPool1D MaxPool2D MaxPool3D MaxPooling1D MaxPooling2D MaxPooling3D Maximum MelSpectrogram Minimum MixUp
    MultiHeadAttention Multiply Normalization PReLU Permute Pipeline RMSNormalization RNN RandAugment RandomBrightness
    RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop RandomElasticTransform RandomErasing
    RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert RandomPerspective RandomPosterization
    RandomRotation RandomSaturation RandomSharpness RandomShear RandomTranslation RandomZoom ReLU RepeatVector
    Rescaling Reshape Resizing ReversibleEmbedding STFTSpectrogram SeparableConv1D SeparableConv2D
    SeparableConvolution1D SeparableConvolution2D SimpleRNN SimpleRNNCell Softmax Solarization SpatialDropout1D
    SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells StringLookup Subtract TFSMLayer
    TextVectorization TimeDistributed TorchModuleWrapper UnitNormalization UpSampling1D UpSampling2D UpSampling3D
    ZeroPadding1D ZeroPadding2D ZeroPadding3D
    """,
)


def _function(name: str, *spellings: str, operator: str | None = None, layer: str | None = None) -> Function:
    """A function of `keras.ops`; it has no methods, as the tensor's type is the backend's."""
    return Function(f"keras.ops.{name}", tuple(f"keras.{name}" for name in spellings), (), operator, layer)


def _numpy(name: str, *spellings: str, operator: str | None = None) -> Function:
    return _function(name, f"ops.numpy.{name}", *spellings, operator=operator)


def _activation(name: str, *spellings: str, layer: str | None = None) -> Function:
    return _function(name, f"ops.nn.{name}", f"activations.{name}", *spellings, layer=layer)


_FUNCTIONS = {
    "relu": _activation("relu", layer="ReLU"),
    "sigmoid": _activation("sigmoid"),
    "tanh": _function("tanh", "ops.numpy.tanh", "activations.tanh"),
    "softmax": _activation("softmax", layer="Softmax"),
    "log_softmax": _activation("log_softmax"),
    "gelu": _function("gelu", "ops.nn.gelu"),
    "silu": _activation("silu", "ops.swish", "ops.nn.swish", "activations.swish"),
    "softplus": _activation("softplus"),
    "softsign": _activation("softsign"),
    "log_sigmoid": _activation("log_sigmoid"),
    "elu": _activation("elu", layer="ELU"),
    "celu": _activation("celu"),
    "selu": _activation("selu"),
    "relu6": _activation("relu6"),
    "leaky_relu": _activation("leaky_relu"),
    "hardswish": _activation("hard_silu", "ops.hard_swish", "ops.nn.hard_swish", "activations.hard_swish"),
    "hardsigmoid": _activation("hard_sigmoid"),
    "hardtanh": _activation("hard_tanh"),
    "hardshrink": _activation("hard_shrink"),
    "softshrink": _activation("soft_shrink"),
    "tanhshrink": _activation("tanh_shrink"),
    "threshold": _activation("threshold"),
    "glu": _activation("glu"),
    "exp": _numpy("exp"),
    "exp2": _numpy("exp2"),
    "expm1": _numpy("expm1"),
    "log": _numpy("log"),
    "log1p": _numpy("log1p"),
    "log2": _numpy("log2"),
    "log10": _numpy("log10"),
    "erf": _function("erf"),
    "abs": _numpy("abs", "ops.absolute", "ops.numpy.absolute"),
    "neg": _numpy("negative", operator="-"),
    "sign": _numpy("sign"),
    "sqrt": _numpy("sqrt"),
    "rsqrt": _function("rsqrt"),
    "square": _numpy("square"),
    "reciprocal": _numpy("reciprocal"),
    "sin": _numpy("sin"),
    "cos": _numpy("cos"),
    "tan": _numpy("tan"),
    "pow": _numpy("power", operator="**"),
    "add": _numpy("add", operator="+"),
    "sub": _numpy("subtract", operator="-"),
    "mul": _numpy("multiply", operator="*"),
    "div": _numpy("divide", "ops.true_divide", "ops.numpy.true_divide", operator="/"),
    "floor_divide": _numpy("floor_divide", operator="//"),
    "remainder": _numpy("mod", operator="%"),
    "maximum": _numpy("maximum"),
    "minimum": _numpy("minimum"),
    "clamp": _numpy("clip"),
    "where": _numpy("where"),
    "logaddexp": _numpy("logaddexp"),
    "matmul": _numpy("matmul", operator="@"),
    "einsum": _numpy("einsum"),
    "tril": _numpy("tril"),
    "triu": _numpy("triu"),
    "sum": _numpy("sum"),
    "mean": _numpy("mean"),
    "prod": _numpy("prod"),
    "var": _numpy("var"),
    "std": _numpy("std"),
    "amax": _numpy("max", "ops.amax", "ops.numpy.amax"),
    "amin": _numpy("min", "ops.amin", "ops.numpy.amin"),
    "argmax": _numpy("argmax"),
    "argmin": _numpy("argmin"),
    "logsumexp": _function("logsumexp"),
    "cumsum": _numpy("cumsum"),
    "norm": _function("norm"),
    "cat": _numpy("concatenate"),
    "stack": _numpy("stack"),
    "split": _numpy("split"),
    "reshape": _numpy("reshape"),
    "flatten": _numpy("ravel"),
    "swapaxes": _numpy("swapaxes"),
    "permute": _numpy("transpose"),
    "squeeze": _numpy("squeeze"),
    "unsqueeze": _numpy("expand_dims"),
    "broadcast_to": _numpy("broadcast_to"),
    "zeros_like": _numpy("zeros_like"),
    "ones_like": _numpy("ones_like"),
    "pad": _numpy("pad"),
    "one_hot": _function("one_hot", "ops.nn.one_hot"),
    "dot_product_attention": _function("dot_product_attention", "ops.nn.dot_product_attention"),
    "layer_norm": _function("layer_normalization", "ops.nn.layer_normalization"),
    "rms_norm": _function("rms_normalization", "ops.nn.rms_normalization"),
    "normalize": _function("normalize", "ops.nn.normalize"),
    "categorical_crossentropy": _function("categorical_crossentropy", "ops.nn.categorical_crossentropy"),
    "binary_crossentropy": _function("binary_crossentropy", "ops.nn.binary_crossentropy"),
}

KERAS = Dialect(
    name="keras",
    layers=_LAYERS,
    containers={},
    functions=_FUNCTIONS,
    imports={"keras": RequiredImport("keras")},
)
