"""PyTorch, as of torch 2.13: the reference pages of `torch.nn`, `torch.nn.functional` and `torch`."""

from __future__ import annotations

from dataclasses import replace

from fuselight_emitter.dialects.base import Dialect, Function, RequiredImport, under

_F = "torch.nn.functional"

_LAYERS = under(
    "torch.nn",
    """
    AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveLogSoftmaxWithLoss AdaptiveMaxPool1d
    AdaptiveMaxPool2d AdaptiveMaxPool3d AlphaDropout AvgPool1d AvgPool2d AvgPool3d BCELoss BCEWithLogitsLoss
    BatchNorm1d BatchNorm2d BatchNorm3d Bilinear CELU CTCLoss ChannelShuffle CircularPad1d CircularPad2d
    CircularPad3d ConstantPad1d ConstantPad2d ConstantPad3d Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d
    ConvTranspose3d CosineEmbeddingLoss CosineSimilarity CrossEntropyLoss CrossMapLRN2d DataParallel Dropout
    Dropout1d Dropout2d Dropout3d ELU Embedding EmbeddingBag FeatureAlphaDropout Flatten Fold FractionalMaxPool2d
    FractionalMaxPool3d GELU GLU GRU GRUCell GaussianNLLLoss GroupNorm Hardshrink Hardsigmoid Hardswish Hardtanh
    HingeEmbeddingLoss HuberLoss Identity InstanceNorm1d InstanceNorm2d InstanceNorm3d KLDivLoss L1Loss LPPool1d
    LPPool2d LPPool3d LSTM LSTMCell LayerNorm LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d LazyConv1d LazyConv2d
    LazyConv3d LazyConvTranspose1d LazyConvTranspose2d LazyConvTranspose3d LazyInstanceNorm1d LazyInstanceNorm2d
    LazyInstanceNorm3d LazyLinear LeakyReLU Linear LinearCrossEntropyLoss LocalResponseNorm LogSigmoid LogSoftmax
    MSELoss MarginRankingLoss MaxPool1d MaxPool2d MaxPool3d MaxUnpool1d MaxUnpool2d MaxUnpool3d Mish
    MultiLabelMarginLoss MultiLabelSoftMarginLoss MultiMarginLoss MultiheadAttention NLLLoss NLLLoss2d PReLU
    PairwiseDistance PixelShuffle PixelUnshuffle PoissonNLLLoss RMSNorm RNN RNNCell RReLU ReLU ReLU6 ReflectionPad1d
    ReflectionPad2d ReflectionPad3d ReplicationPad1d ReplicationPad2d ReplicationPad3d SELU Sequential SiLU Sigmoid
    SmoothL1Loss SoftMarginLoss Softmax Softmax2d Softmin Softplus Softshrink Softsign SyncBatchNorm Tanh Tanhshrink
    Threshold Transformer TransformerDecoder TransformerDecoderLayer TransformerEncoder TransformerEncoderLayer
    TripletMarginLoss TripletMarginWithDistanceLoss Unflatten Unfold Upsample UpsamplingBilinear2d
    UpsamplingNearest2d ZeroPad1d ZeroPad2d ZeroPad3d
    """,
)


def _function(
    name: str,
    *spellings: str,
    api: str = "torch",
    methods: str = "",
    operator: str | None = None,
    layer: str | None = None,
) -> Function:
    return Function(f"{api}.{name}", spellings, tuple(methods.split()), operator, layer)


def _activation(name: str, layer: str | None = None) -> Function:
    return _function(name, api=_F, layer=layer)


_FUNCTIONS = {
    # Activations. relu, sigmoid, tanh and the softmaxes live in `torch` itself; the copies of sigmoid and tanh in
    # torch.nn.functional are deprecated since 0.4.1.
    "relu": _function("relu", f"{_F}.relu", methods="relu", layer="ReLU"),
    "sigmoid": _function("sigmoid", f"{_F}.sigmoid", "torch.special.expit", methods="sigmoid", layer="Sigmoid"),
    "tanh": _function("tanh", f"{_F}.tanh", methods="tanh", layer="Tanh"),
    "softmax": _function("softmax", f"{_F}.softmax", "torch.special.softmax", methods="softmax", layer="Softmax"),
    "log_softmax": _function(
        "log_softmax", f"{_F}.log_softmax", "torch.special.log_softmax", methods="log_softmax", layer="LogSoftmax"
    ),
    "gelu": _activation("gelu", "GELU"),
    "silu": _activation("silu", "SiLU"),
    "mish": _activation("mish", "Mish"),
    "softplus": _activation("softplus", "Softplus"),
    "softsign": _activation("softsign", "Softsign"),
    "log_sigmoid": _activation("logsigmoid", "LogSigmoid"),
    "elu": _activation("elu", "ELU"),
    "celu": _function("celu", "torch.celu", api=_F, layer="CELU"),
    "selu": _function("selu", "torch.selu", api=_F, layer="SELU"),
    "relu6": _activation("relu6", "ReLU6"),
    "leaky_relu": _activation("leaky_relu", "LeakyReLU"),
    "hardswish": _activation("hardswish", "Hardswish"),
    "hardsigmoid": _activation("hardsigmoid", "Hardsigmoid"),
    "hardtanh": _activation("hardtanh", "Hardtanh"),
    "hardshrink": _function("hardshrink", "torch.hardshrink", api=_F, methods="hardshrink", layer="Hardshrink"),
    "softshrink": _activation("softshrink", "Softshrink"),
    "tanhshrink": _activation("tanhshrink", "Tanhshrink"),
    "threshold": _function("threshold", "torch.threshold", api=_F, layer="Threshold"),
    "glu": _activation("glu", "GLU"),
    "prelu": _function("prelu", "torch.prelu", api=_F, methods="prelu"),
    # Elementwise.
    "exp": _function("exp", methods="exp"),
    "exp2": _function("exp2", "torch.special.exp2", methods="exp2"),
    "expm1": _function("expm1", "torch.special.expm1", methods="expm1"),
    "log": _function("log", methods="log"),
    "log1p": _function("log1p", "torch.special.log1p", methods="log1p"),
    "log2": _function("log2", methods="log2"),
    "log10": _function("log10", methods="log10"),
    "erf": _function("erf", "torch.special.erf", methods="erf"),
    "abs": _function("abs", "torch.absolute", methods="abs absolute"),
    "neg": _function("neg", "torch.negative", methods="neg negative", operator="-"),
    "sign": _function("sign", methods="sign"),
    "sqrt": _function("sqrt", methods="sqrt"),
    "rsqrt": _function("rsqrt", methods="rsqrt"),
    "square": _function("square", methods="square"),
    "reciprocal": _function("reciprocal", methods="reciprocal"),
    "sin": _function("sin", methods="sin"),
    "cos": _function("cos", methods="cos"),
    "tan": _function("tan", methods="tan"),
    "pow": _function("pow", methods="pow", operator="**"),
    "add": _function("add", methods="add", operator="+"),
    "sub": _function("sub", "torch.subtract", methods="sub subtract", operator="-"),
    "mul": _function("mul", "torch.multiply", methods="mul multiply", operator="*"),
    "div": _function("div", "torch.divide", "torch.true_divide", methods="div divide true_divide", operator="/"),
    "floor_divide": _function("floor_divide", methods="floor_divide", operator="//"),
    "remainder": _function("remainder", methods="remainder", operator="%"),
    "maximum": _function("maximum", methods="maximum"),
    "minimum": _function("minimum", methods="minimum"),
    "clamp": _function("clamp", "torch.clip", methods="clamp clip"),
    "where": _function("where"),
    "masked_fill": _function("masked_fill", methods="masked_fill"),
    "addcmul": _function("addcmul", methods="addcmul"),
    "addcdiv": _function("addcdiv", methods="addcdiv"),
    "lerp": _function("lerp", methods="lerp"),
    "hypot": _function("hypot", methods="hypot"),
    "logaddexp": _function("logaddexp", methods="logaddexp"),
    # Linear algebra.
    "matmul": _function("matmul", "torch.linalg.matmul", methods="matmul", operator="@"),
    "mm": _function("mm", methods="mm"),
    "bmm": _function("bmm", methods="bmm"),
    "addmm": _function("addmm", methods="addmm"),
    "baddbmm": _function("baddbmm", methods="baddbmm"),
    "einsum": _function("einsum"),
    "linear": _function("linear", api=_F),
    "vecdot": _function("vecdot", api="torch.linalg"),
    "cdist": _function("cdist"),
    "diag": _function("diag", methods="diag"),
    "bilinear": _function("bilinear", "torch.bilinear", api=_F),
    "tril": _function("tril", methods="tril"),
    "triu": _function("triu", methods="triu"),
    # Reductions.
    "sum": _function("sum", methods="sum"),
    "mean": _function("mean", methods="mean"),
    "prod": _function("prod", methods="prod"),
    "var": _function("var", methods="var"),
    "std": _function("std", methods="std"),
    "amax": _function("amax", methods="amax"),
    "amin": _function("amin", methods="amin"),
    "std_mean": _function("std_mean"),
    "var_mean": _function("var_mean"),
    "aminmax": _function("aminmax", methods="aminmax"),
    "argmax": _function("argmax", methods="argmax"),
    "argmin": _function("argmin", methods="argmin"),
    "logsumexp": _function("logsumexp", "torch.special.logsumexp", methods="logsumexp"),
    "cumsum": _function("cumsum", methods="cumsum"),
    "topk": _function("topk", methods="topk"),
    "norm": _function("norm", methods="norm"),
    "vector_norm": _function("vector_norm", api="torch.linalg"),
    # Shapes.
    "cat": _function("cat", "torch.concat", "torch.concatenate"),
    "stack": _function("stack"),
    "split": _function("split", methods="split"),
    "chunk": _function("chunk", methods="chunk"),
    "unbind": _function("unbind", methods="unbind"),
    "gather": _function("gather", methods="gather"),
    "reshape": _function("reshape", methods="reshape"),
    "flatten": _function("flatten", methods="flatten"),
    "swapaxes": _function("transpose", "torch.swapaxes", "torch.swapdims", methods="transpose swapaxes swapdims"),
    "permute": _function("permute", methods="permute"),
    "squeeze": _function("squeeze", methods="squeeze"),
    "unsqueeze": _function("unsqueeze", methods="unsqueeze"),
    "broadcast_to": _function("broadcast_to", methods="broadcast_to"),
    "pixel_shuffle": _function("pixel_shuffle", "torch.pixel_shuffle", api=_F),
    "pixel_unshuffle": _function("pixel_unshuffle", "torch.pixel_unshuffle", api=_F),
    "channel_shuffle": _function("channel_shuffle", "torch.channel_shuffle", api=_F),
    "zeros_like": _function("zeros_like"),
    "ones_like": _function("ones_like"),
    "one_hot": _function("one_hot", api=_F),
    "pad": _function("pad", api=_F),
    # What a layer computes, with its parameters handed in.
    "scaled_dot_product_attention": _function("scaled_dot_product_attention", api=_F),
    "layer_norm": _function("layer_norm", api=_F),
    "rms_norm": _function("rms_norm", api=_F),
    "group_norm": _function("group_norm", api=_F),
    "batch_norm": _function("batch_norm", api=_F),
    "instance_norm": _function("instance_norm", api=_F),
    "normalize": _function("normalize", api=_F),
    "dropout": _function("dropout", api=_F),
    "embedding": _function("embedding", api=_F),
    "embedding_bag": _function("embedding_bag", api=_F),
    "conv1d": _function("conv1d", "torch.conv1d", api=_F),
    "conv2d": _function("conv2d", "torch.conv2d", api=_F),
    "conv3d": _function("conv3d", "torch.conv3d", api=_F),
    "max_pool2d": _function("max_pool2d", "torch.max_pool2d", api=_F),
    "avg_pool2d": _function("avg_pool2d", api=_F),
    "adaptive_avg_pool2d": _function("adaptive_avg_pool2d", api=_F),
    "interpolate": _function("interpolate", api=_F),
    # Losses.
    "cross_entropy": _function("cross_entropy", api=_F),
    "nll_loss": _function("nll_loss", api=_F),
    "mse_loss": _function("mse_loss", api=_F),
    "l1_loss": _function("l1_loss", api=_F),
    "smooth_l1_loss": _function("smooth_l1_loss", api=_F),
    "huber_loss": _function("huber_loss", api=_F),
    "kl_div": _function("kl_div", api=_F),
    "binary_cross_entropy": _function("binary_cross_entropy", api=_F),
    "binary_cross_entropy_with_logits": _function("binary_cross_entropy_with_logits", api=_F),
    "cosine_similarity": _function("cosine_similarity", "torch.cosine_similarity", api=_F),
}

_ONE = "input"
_TWO = "input other"
_REDUCED = "input dim=None keepdim=False dtype=None"
_SIGNATURES = {
    **dict.fromkeys(
        "sigmoid tanh softsign log_sigmoid exp exp2 expm1 log log1p"
        " log2 log10 erf abs neg sign sqrt rsqrt square reciprocal sin cos tan zeros_like ones_like tanhshrink".split(),
        _ONE,
    ),
    **dict.fromkeys("relu relu6 silu mish selu hardswish hardsigmoid".split(), "input inplace=False"),
    **dict.fromkeys(
        "add sub mul div maximum minimum matmul logaddexp hypot".split(),
        _TWO,
    ),
    "mm": "input mat2",
    "bmm": "input mat2",
    "pow": "input exponent",
    "softmax": "input dim=None _stacklevel=3 dtype=None",
    "log_softmax": "input dim=None _stacklevel=3 dtype=None",
    "gelu": "input approximate='none'",
    "softplus": "input beta=1 threshold=20",
    "leaky_relu": "input negative_slope=0.01 inplace=False",
    "elu": "input alpha=1.0 inplace=False",
    "hardtanh": "input min_val=-1.0 max_val=1.0 inplace=False",
    "glu": "input dim=-1",
    "clamp": "input min=None max=None",
    "where": "condition input other",
    "masked_fill": "input mask value",
    "addcmul": "input tensor1 tensor2 value=1",
    "addcdiv": "input tensor1 tensor2 value=1",
    "lerp": "input end weight",
    "addmm": "input mat1 mat2 beta=1 alpha=1",
    "baddbmm": "input batch1 batch2 beta=1 alpha=1",
    "linear": "input weight bias=None",
    "sum": _REDUCED,
    "mean": _REDUCED,
    "var": "input dim=None unbiased=True keepdim=False correction=None",
    "std": "input dim=None unbiased=True keepdim=False correction=None",
    "var_mean": "input dim=None unbiased=True keepdim=False correction=None",
    "std_mean": "input dim=None unbiased=True keepdim=False correction=None",
    "amax": "input dim=() keepdim=False",
    "amin": "input dim=() keepdim=False",
    "argmax": "input dim=None keepdim=False",
    "argmin": "input dim=None keepdim=False",
    "max": "input dim=None keepdim=False",
    "min": "input dim=None keepdim=False",
    "topk": "input k dim=-1 largest=True sorted=True",
    "logsumexp": "input dim keepdim=False",
    "cumsum": "input dim dtype=None",
    "norm": "input p='fro' dim=None keepdim=False dtype=None",
    "vector_norm": "input:x ord=2 dim=None keepdim=False dtype=None",
    "normalize": "input p=2.0 dim=1 eps=1e-12",
    "cosine_similarity": "input:x1 other:x2 dim=1 eps=1e-8",
    "cdist": "input:x1 other:x2 p=2.0 compute_mode='use_mm_for_euclid_dist_if_necessary'",
    "vecdot": "input:x other:y dim=-1",
    "gather": "input dim index sparse_grad=False",
    "chunk": "input chunks dim=0",
    "split": "tensor split_size_or_sections dim=0",
    "unbind": "input dim=0",
    "squeeze": "input dim=None",
    "unsqueeze": "input dim",
    "swapaxes": "input dim0 dim1",
    "one_hot": "input num_classes=-1",
    "diag": "input diagonal=0",
    "scaled_dot_product_attention": "query key value attn_mask=None dropout_p=0.0 is_causal=False scale=None"
    " enable_gqa=False",
    "layer_norm": "input normalized_shape weight=None bias=None eps=1e-05",
    "rms_norm": "input normalized_shape weight=None eps=None",
    "group_norm": "input num_groups weight=None bias=None eps=1e-05",
    "dropout": "input p=0.5 training=True inplace=False",
    "embedding": "input weight padding_idx=None max_norm=None norm_type=2.0 scale_grad_by_freq=False sparse=False",
    "cross_entropy": "input target weight=None size_average=None ignore_index=-100 reduce=None reduction='mean'"
    " label_smoothing=0.0",
    "nll_loss": "input target weight=None size_average=None ignore_index=-100 reduce=None reduction='mean'",
    "binary_cross_entropy": "input target weight=None size_average=None reduce=None reduction='mean'",
    "binary_cross_entropy_with_logits": "input target weight=None size_average=None reduce=None reduction='mean'"
    " pos_weight=None",
    "mse_loss": "input target size_average=None reduce=None reduction='mean' weight=None",
    "l1_loss": "input target size_average=None reduce=None reduction='mean' weight=None",
    "smooth_l1_loss": "input target size_average=None reduce=None reduction='mean' beta=1.0",
    "huber_loss": "input target reduction='mean' delta=1.0 weight=None",
    "kl_div": "input target size_average=None reduce=None reduction='mean' log_target=False",
}
"""The parameters of the functions that patterns name, as of torch 2.13."""

TORCH = Dialect(
    name="torch",
    layers=_LAYERS,
    containers=under("torch.nn", "ModuleDict ModuleList ParameterDict ParameterList"),
    functions={kind: replace(function, signature=_SIGNATURES.get(kind, "")) for kind, function in _FUNCTIONS.items()},
    imports={
        "torch": RequiredImport("torch"),
        "torch.nn": RequiredImport("torch", "nn"),
        _F: RequiredImport(_F, alias="F"),
    },
)
