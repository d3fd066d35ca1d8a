"""The default decoder's weights as one step of a search reads them."""

from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seq2seq_asr.nn.attention import LocationAttention
from seq2seq_asr.nn.cells import GruCell
from seq2seq_asr.nn.decoder import Decoder


class StepWeights(NamedTuple):
    """In the decoder's precision; what is added up at the same place stands in one matrix."""

    table: Float[Tensor, "V D3"]
    """What tokens give to the gates (reset, update, new), with the biases that no gate scales."""
    state: Float[Tensor, "AD3V D"]
    """From the state to query, gates and token scores."""
    state_bias: Float[Tensor, " AD3V"]
    filters: Float[Tensor, "C W"]
    location: Float[Tensor, "A C"]
    score: Float[Tensor, " A"]
    context: Float[Tensor, "E D3V"]
    """From what is attended to, to gates and token scores."""


@torch.no_grad()
def arrange(decoder: Decoder) -> StepWeights:
    """The weights of a decoder that ``nn.stepping.steps_quickly``, as they are now."""
    cell, attention = cast(GruCell, decoder.cells[0]), cast(LocationAttention, decoder.attention)
    output, query, units = cast(nn.Linear, decoder.output), cast(nn.Linear, attention.query), decoder.config.units
    read, context = cell.weight_ih.split([decoder.config.embedding, decoder.encoder_size], dim=1)
    own, scored = output.weight.split([units, decoder.encoder_size], dim=1)
    apart = cell.bias_hh.clone()
    apart[: 2 * units] = 0  # these stand with the tokens, since no gate scales them
    return StepWeights(
        table=torch.addmm(cell.bias_ih + cell.bias_hh - apart, decoder.embedding.weight, read.t()),
        state=torch.cat([query.weight, cell.weight_hh, own]),
        state_bias=torch.cat([query.bias, apart, output.bias]),
        filters=attention.filters.weight.detach()[:, 0].contiguous(),
        location=attention.location.weight.detach().contiguous(),
        score=attention.score.weight[0].detach(),
        context=torch.cat([context, scored]).t().contiguous(),
    )
