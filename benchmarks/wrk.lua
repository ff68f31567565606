-- Prints what wrk has measured as a line of JSON, below wrk's own report.
-- It defines nothing that wrk would call for each request.

local line = [[{"requests": %d, "seconds": %.6f, "bytes": %d, "errors": %d, ]]
   .. [["p50": %.1f, "p99": %.1f}]]

function done(summary, latency)
   local errors = 0
   for _, count in pairs(summary.errors) do
      errors = errors + count
   end
   print(line:format(summary.requests, summary.duration / 1e6, summary.bytes, errors,
                     latency:percentile(50), latency:percentile(99)))
end
