# From a fresh clone to a running program. `make help` lists what there is.
# PYTHON=/path/to/python3.11 chooses the interpreter that .venv is made with.

# A sourced ROS workspace would mix its packages with those of .venv.
unexport PYTHONPATH PYTHONHOME AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup build demo test fuzz soak lint lock clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

setup:  ## install all that is needed into .venv (done once, it costs nothing)
	@scripts/setup.sh

build:  ## generate and install the interfaces again after a change of msg/, srv/ or action/
	@scripts/setup.sh build

demo: setup  ## replay the sample bag into the live nodes and print a table of results
	@.venv/bin/geoseg demo

lint: setup  ## ruff and mypy
	@.venv/bin/python -m ruff check .
	@.venv/bin/python -m mypy

test: lint  ## all tests, with the coverage of every line and branch
	@.venv/bin/python -m pytest --cov --cov-report=term:skip-covered
	@.venv/bin/python scripts/node_coverage.py

fuzz:  ## damaged inputs for every decoder and reader: INPUTS of them (1000000), of TARGET alone, from number FIRST on
	@PYTHONPATH=.:test .venv/bin/python -m faults.fuzzing $(if $(INPUTS),--inputs $(INPUTS)) \
		$(if $(TARGET),--target "$(TARGET)") $(if $(FIRST),--first $(FIRST))

soak:  ## a live node under faults for MINUTES (60), then through LIVES (200), in the order of SEED: out/soak/
	@PYTHONPATH=.:test .venv/bin/python -m faults.soak $(if $(MINUTES),--minutes $(MINUTES)) \
		$(if $(LIVES),--lives $(LIVES)) $(if $(SEED),--seed $(SEED))

lock:  ## bring requirements/robot.lock up to robot.in (versions and hashes)
	@scripts/lock.sh

clean:  ## remove .venv and everything that was built (not out/)
	rm -rf .venv build install log .coverage .coverage.* htmlcov .mypy_cache .pytest_cache .ruff_cache
