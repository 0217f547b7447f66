# `make help` lists what there is.
.PHONY: build
build:
	AMENT_PREFIX_PATH=$(CURDIR)/.venv CMAKE_PREFIX_PATH=$(CURDIR)/.venv .venv/bin/python -m colcon --log-base build/log build --base-paths . compat/tf2_msgs --build-base build --install-base .venv --merge-install --executor sequential --cmake-args -DBUILD_TESTING=OFF -DPython3_EXECUTABLE=$(CURDIR)/.venv/bin/python3 -DGEOSEG_DEVELOP=ON
