# make demo: everything from nothing to tokens and a report page.   make test: set up and run all tests.
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.ready

.PHONY: venv demo test test-corpus lint format clean

venv: $(STAMP)

$(STAMP): constraints.txt pyproject.toml
	@echo "setting up $(VENV) from constraints.txt (several GB the first time, and some minutes without a word)"
	@test -x $(PY) || python3 -m venv $(VENV)
	@$(PY) -m pip install --quiet --upgrade pip
	@# of an editable install setuptools warns whatever it finds
	@PYTHONWARNINGS=ignore $(PY) -m pip install --quiet --constraint constraints.txt --editable '.[score,exports,s3,sed,music,ray,slurm,vision,video,diffusion,onnx,dev]'
	@touch $(STAMP)

demo: venv
	@cd egs/mini_speech/tok1 && ./run.sh

# two processes of one thread each: with two threads in one, a busy neighbour costs more than half the speed
test: venv
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2

test-corpus: venv
	OMP_NUM_THREADS=1 $(PY) -m pytest -m corpus

lint: venv
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	git ls-files "*.sh" .ci/run | xargs $(VENV)/bin/shellcheck -x

format: venv
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info egs/*/*/data egs/*/*/dump egs/*/*/exp
