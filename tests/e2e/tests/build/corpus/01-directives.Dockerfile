# escape=`
# check=skip=all
FROM base:1
RUN echo one `
  two > /out
ENV WINDOWS=C:\\path
