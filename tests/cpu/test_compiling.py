"""Loops run wherever they are installed, and are kept where anything can be."""

from numba.core import caching

from seq2seq_asr.cpu.compiling import compiled


def twice(x):
    return x + x


def test_without_a_folder_to_keep_it_in_a_loop_is_compiled_all_the_same(monkeypatch) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    loop = compiled()(twice)
    assert loop(3) == 6 and loop.stats.cache_path is None


def test_options_take_the_place_of_the_usual_ones() -> None:
    assert compiled()(twice).targetoptions["fastmath"] != compiled(fastmath=False)(twice).targetoptions["fastmath"]
    assert compiled(fastmath=False)(twice).targetoptions["nogil"]
