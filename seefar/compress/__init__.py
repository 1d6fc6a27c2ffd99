"""Fewer tokens, no state: selecting, merging and pooling inside a budget."""

from seefar.compress.base import Compressor as Compressor
from seefar.compress.bins import AdaptiveBins as AdaptiveBins
from seefar.compress.bins import adaptive_bins as adaptive_bins
from seefar.compress.merge import Adjacent as Adjacent
from seefar.compress.merge import Bipartite as Bipartite
from seefar.compress.merge import SimilarityMerge as SimilarityMerge
from seefar.compress.pagerank import attention_pagerank as attention_pagerank
from seefar.compress.pagerank import pagerank as pagerank
from seefar.compress.pool import GridPool as GridPool
from seefar.compress.relevance import Cosine as Cosine
from seefar.compress.resample import QueryResampler as QueryResampler
from seefar.compress.resample import Words as Words
from seefar.compress.resample import load_instructblip as load_instructblip
from seefar.compress.select import Novelty as Novelty
from seefar.compress.select import TopK as TopK
from seefar.compress.select import Uniform as Uniform
from seefar.compress.stream import Stream as Stream
