# The front door. `make help` lists what there is; GNU make 3.81 suffices.
PROFILE ?= quick
SOURCE ?=
WEIGHTS ?=
SET ?=
DATASET ?=
JOBS ?=
SHARE ?=
KEEP ?=
EXECUTOR ?=
ACCOUNT ?=
PARTITION ?=
SLURM ?=
N ?=
RUN ?=
INSTALL ?= uv
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
export PROFILE SOURCE WEIGHTS SET JOBS SHARE KEEP EXECUTOR ACCOUNT PARTITION SLURM N RUN INSTALL PYTHON
export PYTHONPATH := $(CURDIR)

PY := .venv/bin/python
# One stamp a lock and folder: the same lock installs nothing, a changed one or a moved clone installs again.
ENVIRONMENT := .venv/.installed-$(shell (cat requirements.lock; pwd) | cksum | cut -d' ' -f1)
NOTEBOOKS := $(wildcard notebooks/*.ipynb)

help:
	@echo "make paper        every table and figure of PROFILE into reports/PROFILE/index.html"
	@echo "                    PROFILE=quick     a file of config/; quick needs no data and no GPU"
	@echo "                    SOURCE=folder     your archives or unpacked folders of the real data sets"
	@echo "                    WEIGHTS=folder    encoder weights (default: SOURCE/../weights where there is one)"
	@echo "                    SET='key=value'   override settings of the profile, into reports/PROFILE-.../"
	@echo "                    JOBS=n            processor cores to use (default: all)"
	@echo "                    SHARE=n           trainings side by side on each GPU (default: 1); a large one takes many"
	@echo "                    KEEP=1            keep finished runs that the report holds with their predictions and scores, whatever code made them"
	@echo "                    EXECUTOR=slurm    each step a job of a cluster (workflow/slurm/config.yaml); ACCOUNT=, PARTITION=, SLURM='more options'"
	@echo "make plan         what 'make paper' would run, why, and how long it took before"
	@echo "make report       tables, score plots and page of PROFILE again from its CSV files; nothing is trained"
	@echo "make readme       the tables within README.md and docs/results.md again, from those of reports/"
	@echo "make trace        what made a number of a table: make trace N=0.894, or of PROFILE's alone"
	@echo "make repeat       train a recorded run again, and lay what comes out beside the record: make repeat RUN=decoders/kvasir-seg/ehanet/seed0 SOURCE=folder"
	@echo "make data         import the data sets of SOURCE and say what is in them; DATASET=kvasir-seg alone downloads it"
	@echo "make lab          JupyterLab on the notebooks"
	@echo "make test         the fast tests, as CI runs them;  make test-slow: the others"
	@echo "make test-browser the first notebook in a real browser (Chromium and chromedriver; skipped where there is none)"
	@echo "make test-slurm   the smoke profile on a one-node Slurm of this machine (packages slurm-wlm and munge; root)"
	@echo "make walkthroughs execute the notebooks in place; each is replaced only if all its cells ran"
	@echo "make docs         pages of the public functions, from their docstrings, into docs/api/index.html"
	@echo "make mutants      break the code on purpose and see the tests turn red"
	@echo "make bench        how much faster than the plain released way, on this machine; into benchmarks/results"
	@echo "make wheelhouse   packages for an installation without a network; copy the folder wheelhouse beside the Makefile there"
	@echo "make lock         resolve requirements.lock again from pyproject.toml"
	@echo "make clean        remove caches; .venv, runs and reports stay"
	@echo "INSTALL=pip       install with pip and its configuration (a mirror, a proxy) in place of uv"

environment: $(ENVIRONMENT)

$(ENVIRONMENT):
	@sh workflow/install.sh
	@touch $@

# Plugins for a cluster, apart from the environment that the lock describes.
SLURM_PLUGINS := .venv/slurm/.installed-$(shell cksum < workflow/slurm/requirements.txt | cut -d' ' -f1)

$(SLURM_PLUGINS): $(ENVIRONMENT)
	@rm -rf .venv/slurm
	@$(PY) -m pip install --disable-pip-version-check --quiet --no-deps --target .venv/slurm -r workflow/slurm/requirements.txt
	@touch $@

paper: $(ENVIRONMENT) $(if $(filter slurm,$(EXECUTOR)),$(SLURM_PLUGINS))
	@$(PY) -m workflow.paper run --profile "$$PROFILE" --source "$$SOURCE" --weights "$$WEIGHTS" --set "$$SET" --jobs "$$JOBS" --keep "$$KEEP" \
		--share "$$SHARE" --executor "$$EXECUTOR" --account "$$ACCOUNT" --partition "$$PARTITION" --slurm "$$SLURM"

plan: $(ENVIRONMENT)
	@$(PY) -m workflow.paper plan --profile "$$PROFILE" --source "$$SOURCE" --weights "$$WEIGHTS" --set "$$SET" --jobs "$$JOBS" --keep "$$KEEP"

report: $(ENVIRONMENT)
	@$(PY) -m workflow.paper report --profile "$$PROFILE" --source "$$SOURCE" --weights "$$WEIGHTS" --set "$$SET" --jobs "$$JOBS"

data: $(ENVIRONMENT)
	@$(PY) -m ehanet.data $(DATASET) $(if $(SOURCE),--source "$$SOURCE",--download)

readme: $(ENVIRONMENT)
	@$(PY) -m ehanet.reporting.readme README.md reports/laptop
	@set -- "fine-tuned, 128 px=reports/decoders" "frozen, 128 px=reports/decoders-freeze-encoder-always" \
		"fine-tuned, 256 px=reports/decoders-256" "frozen, 256 px=reports/decoders-256-freeze-encoder-always"; \
	$(PY) -m ehanet.reporting.beside docs/results.md "$$@" && $(PY) -m ehanet.reporting.edges_beside docs/results.md "$$@" \
		"128 px, 20 epochs (EHANet: random weights)=reports/laptop" "256 px, 50 epochs, random weights=reports/paper-random"

trace: $(ENVIRONMENT)
	@$(PY) -m ehanet.reporting.trace -- "$$N" "reports$(if $(filter file,$(origin PROFILE)),,/$$PROFILE)"

repeat: $(ENVIRONMENT)
	@$(PY) -m workflow.repeat --source "$$SOURCE" --weights "$$WEIGHTS" -- "$$RUN"

# Uploads in the notebooks may have 100 MB; Jupyter's default is 10.
lab: $(ENVIRONMENT)
	$(PY) -m jupyterlab --ServerApp.tornado_settings='{"websocket_max_message_size": 104857600}'

# Files in parallel on one thread each: threads of several processes that wait for each other on few cores crawl.
test: $(ENVIRONMENT)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder -m "not slow" tests --ignore=tests/browser \
		$(if $(NOTEBOOKS),--nbval --nbval-sanitize-with notebooks/sanitise.cfg $(NOTEBOOKS))

test-slow: $(ENVIRONMENT)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --maxprocesses 4 --dist loadscope -m slow tests

# Keeps screenshots and logs in by-hand/browser, which git does not see.
test-browser: $(ENVIRONMENT)
	EHANET_BROWSER_OUT=by-hand/browser $(PY) -m pytest -s tests/browser

walkthroughs: $(ENVIRONMENT)
	$(PY) -m workflow.walkthroughs

# A Slurm of one node on this machine, by root, where the packages slurm-wlm and munge are installed; skipped with the reason elsewhere.
test-slurm: $(ENVIRONMENT) $(SLURM_PLUGINS)
	EHANET_TEST_SLURM=1 $(PY) -m pytest -rs -s tests/test_slurm.py

docs: $(ENVIRONMENT)
	$(PY) -m workflow.docs

mutants: $(ENVIRONMENT)
	$(PY) tests/mutants/run.py

bench: $(ENVIRONMENT)
	@$(PY) -m benchmarks

wheelhouse: $(ENVIRONMENT)
	$(PY) -m pip wheel --wheel-dir wheelhouse -r requirements.lock
	cp requirements.lock wheelhouse/

lock: $(ENVIRONMENT)
	$(PY) -m uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
		--custom-compile-command "make lock" --quiet --output-file requirements.lock

clean:
	rm -rf .snakemake .pytest_cache .hypothesis build dist *.egg-info
	find ehanet workflow tests notebooks -name __pycache__ -prune -exec rm -rf {} +
	find notebooks -name .ipynb_checkpoints -prune -exec rm -rf {} +
	@echo "Kept: .venv, runs, reports, wheelhouse. Remove them by hand if you mean it."

.PHONY: help environment paper plan report readme trace repeat data lab test test-slow test-browser test-slurm walkthroughs docs mutants bench wheelhouse lock clean
