# The site as a container: a Space of the Hub builds this file, or anybody:
#   docker build -t ucbench . && docker run -p 8501:8501 ucbench
# Nothing here is secret and nothing secret is needed to build; at run time secrets come from the environment.
FROM python:3.11-slim

# Spaces run a container as user 1000, and nothing below needs more.
RUN useradd --create-home --uid 1000 user
USER user
# Made by the user, because WORKDIR would make it for root.
RUN mkdir /home/user/app
WORKDIR /home/user/app
ENV HOME=/home/user \
    PATH=/home/user/venv/bin:/usr/local/bin:/usr/bin:/bin \
    HF_HOME=/home/user/.cache/huggingface \
    UCBENCH_RUNS=/home/user/runs \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1 \
    OMP_NUM_THREADS=2

# torch first and by its exact pin, so that nothing after it pulls another build. An index that serves builds
# for CUDA under that pin makes the image some GB larger; name one of CPU builds then:
# --build-arg PIP_EXTRA_INDEX_URL=...
ARG PIP_EXTRA_INDEX_URL
COPY --chown=user requirements.txt ./
RUN python -m venv /home/user/venv
RUN pip install --quiet "$(grep '^torch==' requirements.txt)"
RUN pip install --quiet -r requirements.txt

COPY --chown=user . .
RUN pip install --quiet --no-deps --no-build-isolation -e .

EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
CMD ["ucbench", "site", "--host", "0.0.0.0", "--port", "8501"]
