FROM base:1 AS inherited
CMD ["inherited"]
FROM inherited
ENTRYPOINT ["/entry"]
