"""The miniature's own tokenizer: byte-pair encoding of its captions, read by `CLIPTokenizer`."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

POSITIONS = 32
_START, _END = "<|startoftext|>", "<|endoftext|>"


def write_tokenizer(captions: Sequence[str], folder: Path) -> None:
    """Learns a vocabulary of at most 512 entries from captions and saves it under `folder`."""
    model = models.BPE(unk_token=_END, end_of_word_suffix="</w>")
    learner = Tokenizer(model)
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=510,
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz0123456789.,'-!?"),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learner.train_from_iterator(captions, trainer)
    learned = json.loads(learner.to_str())["model"]
    vocabulary = dict(learned["vocab"])
    # A word's last letter is a symbol of its own, so that words never seen still have tokens.
    for symbol in [s for s in vocabulary if len(s) == 1]:
        vocabulary.setdefault(f"{symbol}</w>", len(vocabulary))
    for special in (_START, _END):
        vocabulary[special] = len(vocabulary)
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in learned["merges"]]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text(
        "\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8"
    )
    CLIPTokenizer.from_pretrained(folder, model_max_length=POSITIONS).save_pretrained(folder)


def encode(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> torch.Tensor:
    """Token ids, int64 [n, 32], padded as the pipeline pads them."""
    batch = tokenizer(
        list(captions),
        padding="max_length",
        max_length=POSITIONS,
        truncation=True,
        return_tensors="pt",
    )
    return batch.input_ids
