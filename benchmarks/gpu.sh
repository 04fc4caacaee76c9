#!/bin/sh
# Every check and benchmark of this project that wants a GPU, in under eight minutes:
#
#     benchmarks/gpu.sh                                  writes benchmarks/results/{encode,search,index}_device.json
#     benchmarks/gpu.sh --device cpu --small [FOLDER]    tries all of it without a GPU; writes into FOLDER
#
# PYTHON is the python to use. Fused kernels of other packages stand beside ours where they are installed:
# pip install flash-maxsim late-interaction-kernels
set -u
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
failed=

step() { # step SECONDS NAME COMMAND…: go on with the next one whatever comes of it
    limit=$1 name=$2
    shift 2
    echo "== $name"
    timeout "$((limit * patience))" "$@" || failed="$failed, $name"
}

case "$*" in
"")
    out=benchmarks/results
    if ! "$python" -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then
        echo "gpu.sh: torch finds no GPU here. To try the scripts without one: $0 --device cpu --small" >&2
        exit 2
    fi
    patience=1 encode= search= index= ;;
"--device cpu --small"*)
    out=${4:-$(mktemp -d)} patience=10
    export TRITON_INTERPRET=1
    encode="--device cpu --small"
    search="--device cpu --passages 200 --queries 1 2"
    index="--device cpu --passages 2500 --queries 1 2" ;;
*)
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2 ;;
esac

mkdir -p "$out"
# shellcheck disable=SC2086 # options are several words
{
    step 120 tests "$python" -m pytest -q -p no:cacheprovider tests/test_scoring_triton.py tests/contracts/test_index_contract.py -k "triton or gpu"
    step 150 encode_device "$python" benchmarks/encode_device.py $encode --out "$out/encode_device.json"
    step 100 search_device "$python" benchmarks/search_device.py $search --out "$out/search_device.json"
    step 100 index_device "$python" benchmarks/index_device.py $index --out "$out/index_device.json"
}
echo "results: $out"
if [ -n "$failed" ]; then
    echo "gpu.sh: failed: ${failed#, }" >&2
    exit 1
fi
