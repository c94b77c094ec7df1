"""Train the bundled protein language model: corpus.fasta.gz -> model.safetensors + config.json.

    python benchmarks/pretraining/protein_masked_lm.py CORPUS.fasta.gz OUT

Resumable: run the same command again after an interruption. The learning rate is held and then
decays linearly to zero over the last ``--decay`` steps, so a longer ``--steps`` continues a run.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from pathlib import Path

import torch
from protein_corpus import Corpus, mask_tokens, read_corpus
from safetensors.torch import save_file
from torch import Tensor, nn

from sci_interp_protein.bytenet import ByteNet, ByteNetConfig

WARM_UP = 200


def learning_rate_factor(step: int, steps: int, decay: int) -> float:
    """Return the share of the peak rate at one step: warm-up, plateau, linear decay."""
    return min(1.0, (step + 1) / WARM_UP, max(0.0, (steps - step) / decay))


def make_optimizers(model: ByteNet, rate: float) -> list[torch.optim.Optimizer]:
    """Return Muon for the blocks' matrices and AdamW for everything else."""
    matrices = [
        p for name, p in model.named_parameters() if p.ndim == 2 and name.startswith("blocks")
    ]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=rate, weight_decay=0.0, betas=(0.9, 0.98)),
    ]


def masked_loss(model: nn.Module, tokens: Tensor, rate: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the mean loss at chosen positions and the losses where ``<mask>`` was shown."""
    masked, chosen, shown = mask_tokens(tokens, rate, torch.Generator().manual_seed(seed))
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(masked)
    losses = nn.functional.cross_entropy(logits[chosen].float(), tokens[chosen], reduction="none")
    return losses.mean(), losses.detach()[shown[chosen]]


@torch.no_grad()
def validate(model: nn.Module, corpus: Corpus, batch: int) -> float:
    """Return the perplexity at positions that show ``<mask>``, over every validation crop."""
    crops = corpus.crops(seed=0, epoch=0)
    parts = [
        masked_loss(model, corpus.batch(crops[at : at + batch]), 0.15, at)[1]
        for at in range(0, len(crops) - batch + 1, batch)
    ]
    return math.exp(torch.cat(parts).double().mean().item())


def save_checkpoint(
    out: Path, model: ByteNet, optimizers: list[torch.optim.Optimizer], step: int
) -> None:
    """Write weights, sizes and optimiser state, each whole or not at all."""
    weights = out / "model.tmp.safetensors"
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, weights)
    weights.rename(out / "model.safetensors")
    (out / "config.json").write_text(
        json.dumps({"model_type": "bytenet", **model.config.to_dict(), "steps": step}, indent=1)
        + "\n"
    )
    state = {"step": step, "model": model.state_dict(), "opt": [o.state_dict() for o in optimizers]}
    torch.save(state, out / "state.tmp")
    (out / "state.tmp").rename(out / "state.pt")


def train(args: argparse.Namespace) -> None:
    """Train until ``--steps``, writing a checkpoint and a line of the loss curve every 500."""
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    corpus, held_out = read_corpus(args.corpus, out / "corpus.npz")
    torch.manual_seed(args.seed)
    model = ByteNet(
        ByteNetConfig(width=args.width, bottleneck=args.bottleneck, n_blocks=args.blocks)
    )
    optimizers = make_optimizers(model, args.rate)
    step = 0
    if (out / "state.pt").exists():
        state = torch.load(out / "state.pt", weights_only=True)
        step = state["step"]
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["opt"], strict=True):
            optimizer.load_state_dict(saved)
    compiled = torch.compile(model)
    per_epoch = len(corpus.crops(args.seed, 0)) // args.batch
    epoch, crops = -1, None
    running, n_tokens, clock = 0.0, 0, time.time()
    while step < args.steps:
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            crops = corpus.crops(args.seed, epoch)
        at = (step % per_epoch) * args.batch
        tokens = corpus.batch(crops[at : at + args.batch])
        factor = learning_rate_factor(step, args.steps, args.decay)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = args.rate * factor
        loss, _ = masked_loss(compiled, tokens, 0.2, args.seed + step)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        running += loss.item()
        n_tokens += tokens.numel()
        if step % 50 == 0:
            pace = n_tokens / (time.time() - clock)
            print(
                f"step {step}/{args.steps} loss {running / 50:.4f} "
                f"rate x{factor:.2f} {pace:,.0f} tokens/s",
                flush=True,
            )
            recent, running, n_tokens, clock = running / 50, 0.0, 0, time.time()
        if step % 500 == 0 or step == args.steps:
            perplexity = validate(compiled, held_out, args.batch)
            save_checkpoint(out, model, optimizers, step)
            with (out / "loss_curve.csv").open("a", newline="") as handle:
                csv.writer(handle).writerow(
                    [step, step * args.batch * 256, f"{recent:.4f}", f"{perplexity:.4f}"]
                )
            print(f"step {step} validation perplexity at <mask> {perplexity:.3f}", flush=True)
            clock = time.time()


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=6_000)
    parser.add_argument("--decay", type=int, default=1_200)
    parser.add_argument("--rate", type=float, default=5e-3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--bottleneck", type=int, default=192)
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
