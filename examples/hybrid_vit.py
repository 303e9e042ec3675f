"""A small hybrid vision transformer: a convolutional stem, then transformer blocks over its feature map.

Run it to train a few steps on random images:

    python examples/hybrid_vit.py
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class ViTConfig:
    image_size: int = 64
    in_channels: int = 3
    dim: int = 96
    depth: int = 3
    num_heads: int = 6
    num_kv_heads: int = 2
    mlp_ratio: float = 2.0
    dropout: float = 0.1
    num_classes: int = 10


class ConvStem(nn.Module):
    """Two strided convolutions in place of a patch embedding (Xiao et al., 2021)."""

    def __init__(self, in_channels, dim):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, dim // 2, kernel_size=3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(dim // 2)
        self.proj = nn.Sequential(
            nn.Conv2d(dim // 2, dim, kernel_size=3, stride=2, padding=1),
            nn.BatchNorm2d(dim),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        x = self.bn1(self.conv1(x))
        x = x * torch.sigmoid(x)  # swish
        return self.proj(x)


class Attention(nn.Module):
    """Grouped-query self-attention."""

    def __init__(self, config: ViTConfig):
        super().__init__()
        self.num_heads = config.num_heads
        self.num_kv_heads = config.num_kv_heads
        self.head_dim = config.dim // config.num_heads
        self.dropout = config.dropout

        self.q_proj = nn.Linear(config.dim, config.num_heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(config.dim, config.num_kv_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(config.dim, config.num_kv_heads * self.head_dim, bias=False)
        self.out_proj = nn.Linear(config.dim, config.dim)

    def forward(self, x):
        B, N, C = x.shape
        q = self.q_proj(x).view(B, N, self.num_heads, self.head_dim).transpose(1, 2)
        k = self.k_proj(x).view(B, N, self.num_kv_heads, self.head_dim).transpose(1, 2)
        v = self.v_proj(x).view(B, N, self.num_kv_heads, self.head_dim).transpose(1, 2)
        dropout_p = self.dropout if self.training else 0.0
        x = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout_p, enable_gqa=True)
        return self.out_proj(x.transpose(1, 2).reshape(B, N, C))


class GatedMLP(nn.Module):
    def __init__(self, config: ViTConfig):
        super().__init__()
        hidden = int(config.dim * config.mlp_ratio)
        self.gate_proj = nn.Linear(config.dim, hidden)
        self.up_proj = nn.Linear(config.dim, hidden)
        self.down_proj = nn.Linear(hidden, config.dim)
        self.act = nn.SiLU()

    def forward(self, x):
        return self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, config: ViTConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim)
        self.attn = Attention(config)
        self.norm2 = nn.LayerNorm(config.dim)
        self.mlp = GatedMLP(config)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x


class HybridViT(nn.Module):
    def __init__(self, config: ViTConfig):
        super().__init__()
        self.stem = ConvStem(config.in_channels, config.dim)
        tokens = (config.image_size // 4) ** 2
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, config.dim))
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.depth)])
        self.norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, config.num_classes)
        self.apply(self._init_weights)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    @staticmethod
    def _init_weights(m):
        if isinstance(m, nn.Linear):
            nn.init.trunc_normal_(m.weight, std=0.02)
            if m.bias is not None:
                nn.init.zeros_(m.bias)

    def forward(self, images):
        x = self.stem(images)
        x = x.flatten(2).transpose(1, 2)
        x = x + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(dim=1))


def main():
    torch.manual_seed(0)
    config = ViTConfig()
    model = HybridViT(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    for step in range(3):
        images = torch.randn(4, config.in_channels, config.image_size, config.image_size)
        labels = torch.randint(0, config.num_classes, (4,))
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step}: loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
