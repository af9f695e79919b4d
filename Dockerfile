# Huker's own service: the control plane of one machine. Built by `huker image build --service`, which gives BASE (a minimal Debian
# that is pulled or made on the spot) and MIRROR, after `make build` has put the programs into bin/.
ARG BASE=debian:bookworm-slim
FROM ${BASE}

# iptables is what security groups are enforced with. A mirror that is pinned to a moment has an index past its Valid-Until.
ARG MIRROR=
ARG SUITE=bookworm
RUN set -eu; \
    if [ -n "$MIRROR" ]; then rm -f /etc/apt/sources.list.d/*; echo "deb $MIRROR $SUITE main" >/etc/apt/sources.list; fi; \
    printf 'path-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\n' >/etc/dpkg/dpkg.cfg.d/huker; \
    apt-get -q -o Acquire::Check-Valid-Until=false -o Acquire::Retries=3 update; \
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install iptables; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/*

COPY bin/huker bin/huker-guestagent bin/huker-supervisor /usr/local/bin/

ENTRYPOINT ["/usr/local/bin/huker"]
