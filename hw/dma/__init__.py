"""The engines that move words: FETCH, LOAD and STORE."""

from hw.dma.fetch import FetchEngine
from hw.dma.load import LoadEngine
from hw.dma.store import StoreEngine

__all__ = ["FetchEngine", "LoadEngine", "StoreEngine"]
