import pytest
import torch
from PIL import Image

from seefar.evals.formats.lra import Vocabulary, pixels, read_listops, read_pathfinder, read_retrieval, read_text
from seefar.synthetic.listops import listops, write_listops


def test_listops_loses_its_brackets_and_renames_the_end_of_a_list(tmp_path):
    path = tmp_path / "basic_train.tsv"
    path.write_text("Source\tTarget\n( ( ( [MAX 3 ) ( ( ( [SM 4 ) 9 ) ] ) ) ] )\t3\n")
    assert read_listops(path) == [(["[MAX", "3", "[SM", "4", "9", "X", "X"], 3)]


def test_what_the_generator_writes_is_read_back(tmp_path):
    samples = listops(20, length=(5, 60), depth=3, seed=0)
    write_listops(tmp_path / "basic_test.tsv", samples)
    read = read_listops(tmp_path / "basic_test.tsv")
    assert [label for _, label in read] == [value for _, value in samples]
    words = Vocabulary.of(words for words, _ in read).words
    assert set(words) == {"<pad>", "<unk>", "<eos>", "[MIN", "[MAX", "[MED", "[SM", "X", *"0123456789"}


def test_a_vocabulary_leaves_out_rare_words_cuts_ends_and_pads():
    words = Vocabulary.of(["aab", "ab", "c"], least=2)
    assert words.words == ("<pad>", "<unk>", "<eos>", "a", "b")
    assert words.encode(["abc", "a", "aaaaaa"], 4).tolist() == [[3, 4, 1, 2], [3, 2, 0, 0], [3, 3, 3, 2]]


def test_reviews_are_labelled_by_their_folder(tmp_path):
    for label, name in enumerate(("neg", "pos")):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "0_1.txt").write_text(f"review {label}")
    assert read_text(tmp_path, "train") == [("review 0", 0), ("review 1", 1)]
    with pytest.raises(ValueError, match="no reviews in test/neg"):
        read_text(tmp_path, "test")


def test_pairs_of_papers_keep_their_quotes(tmp_path):
    path = tmp_path / "new_aan_pairs.train.tsv"
    path.write_text('1.0\tA00\tB01\tOn "long" text\tmore\n0.0\tA00\tC02\tx\ty\n')
    assert read_retrieval(path) == [('On "long" text', "more", 1), ("x", "y", 0)]
    path.write_text("1.0\tA00\tB01\tonly one text\n")
    with pytest.raises(ValueError, match="line 1: needs label, two names and two texts, got 4"):
        read_retrieval(path)


def test_pathfinder_lists_are_text_and_its_empty_picture_is_skipped(tmp_path):
    root = tmp_path / "curv_contour_length_14"
    (root / "metadata").mkdir(parents=True)
    (root / "imgs" / "0").mkdir(parents=True)
    for i in range(3):
        Image.new("L", (32, 32), 51 * i).save(root / "imgs" / "0" / f"sample_{i}.png")
    (root / "imgs" / "0" / "sample_1.png").write_bytes(b"")
    (root / "metadata" / "10.npy").write_text("imgs/0 sample_2.png 2 0 1.5 2\n")
    (root / "metadata" / "2.npy").write_text("imgs/0 sample_0.png 0 1 1.5 2\nimgs/0 sample_1.png 1 1 1.5 2\n")
    samples = read_pathfinder(tmp_path)
    assert [(path.name, label) for path, label in samples] == [("sample_0.png", 1), ("sample_2.png", 0)]
    torch.testing.assert_close(pixels(samples[1][0]), torch.full((1024, 1), 0.4))


def test_wrong_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no curv_contour_length_14/metadata"):
        read_pathfinder(tmp_path)
    path = tmp_path / "basic_val.tsv"
    path.write_text("Source\tTarget\n( ( ( [SM 3 ) 9 ) ] )\t12\n")
    with pytest.raises(ValueError, match="line 2: the label must be 0 to 9, got '12'"):
        read_listops(path)
    path.write_text("Text\tTarget\nx\t1\n")
    with pytest.raises(ValueError, match="Source"):
        read_listops(path)
    with pytest.raises(ValueError, match="length of at least 2"):
        Vocabulary(("<pad>",)).encode(["a"], 1)
