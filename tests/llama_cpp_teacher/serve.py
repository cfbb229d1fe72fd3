"""llama.cpp's HTTP server for one GGUF file on a free loopback port, until it is stopped or its starter is gone.

    serve.py MODEL.gguf NAME ADDRESS_FILE

ADDRESS_FILE appears, whole, with http://127.0.0.1:PORT in it once /health answers 200.
"""

import os
import sys
import time
import urllib.error
import urllib.request

import xllamacpp

PARALLEL_REQUESTS = 4


def main():
    model, name, address_file = sys.argv[1:]
    starter = os.getppid()
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.model_alias = {name}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_ctx = 0  # 0: what the checkpoint was trained with
    parameters.n_parallel = PARALLEL_REQUESTS
    parameters.kv_unified = True  # each request may use the whole context, not a fourth of it
    server = xllamacpp.Server(parameters)

    address = server.listening_address
    while not healthy(address):
        time.sleep(0.05)
    with open(address_file + ".part", "w") as file:
        file.write(address)
    os.rename(address_file + ".part", address_file)
    while os.getppid() == starter:
        time.sleep(0.5)


def healthy(address):
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    main()
