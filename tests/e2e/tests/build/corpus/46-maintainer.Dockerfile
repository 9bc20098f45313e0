FROM base:1

MAINTAINER Some One <one@example.com>
