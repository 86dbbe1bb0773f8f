"""A tokenizer of few words, tables of sentences that it knows, and tiny networks of the Hub's kind; nothing is downloaded."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

WORDS = ["good", "fine", "bad", "poor", "film", "play", "a", "the", "was", "very"]
INPUTS = ["input_ids", "token_type_ids", "attention_mask"]
PREFIX = {"continuing_subword_prefix": "##"}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
PAD, UNK, CLS, SEP = range(4)


def word(text: str) -> int:
    """The id of a word."""
    return len(SPECIAL) + WORDS.index(text)


def tokenizer_folder(folder: Path) -> Path:
    """A WordPiece tokenizer that knows WORDS."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {name: i for i, name in enumerate([*SPECIAL, *WORDS])}
    special = [
        {"id": i, "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for i, name in enumerate(SPECIAL)
    ]
    piece = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}
    written = {
        "version": "1.0",
        "added_tokens": special,
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [piece[0], {"Sequence": {"id": "A", "type_id": 0}}, piece[1]],
            "pair": [
                piece[0],
                {"Sequence": {"id": "A", "type_id": 0}},
                piece[1],
                {"Sequence": {"id": "B", "type_id": 1}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 1}},
            ],
            "special_tokens": {name: {"id": name, "ids": [vocabulary[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")},
        },
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": vocabulary, "max_input_chars_per_word": 100} | PREFIX,
    }
    (folder / "tokenizer.json").write_text(json.dumps(written))
    names = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 32, "model_input_names": INPUTS, **names})
    )
    return folder


def network_folder(folder: Path, layers: int = 2, seed: int = 0, **more: object) -> Path:
    """A tiny BERT with drawn weights, and the tokenizer beside it."""
    import torch
    from transformers import BertConfig, BertModel

    tokenizer_folder(folder)
    config = BertConfig(
        **{
            "vocab_size": len(SPECIAL) + len(WORDS),
            "hidden_size": 16,
            "num_hidden_layers": layers,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 32,
            "pad_token_id": PAD,
            "initializer_range": 0.3,
            **more,
        }
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder)
    return folder


def sentences(count: int) -> tuple[list[str], list[int]]:
    """Sentences of two lengths whose label is what they say of the film."""
    labels = [i % 2 for i in range(count)]
    adjectives = [["bad", "poor"], ["good", "fine"]]
    return [
        f"the {'film' if i % 3 else 'play'} was {'very ' * (i % 2 + i % 5 // 4)}{adjectives[label][i // 2 % 2]}"
        for i, label in enumerate(labels)
    ], labels


def text_folder(folder: Path, train: int = 40, test: int = 10, task: str = "") -> Path:
    """`train.parquet` and `validation.parquet` with the columns sentence and label."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", train), ("validation", test)):
        texts, labels = sentences(count)
        pq.write_table(pa.table({"sentence": texts, "label": labels}), folder / f"{task}{'-' if task else ''}{split}.parquet")
    return folder
