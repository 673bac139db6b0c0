# Stands between Claude and the run's log when it may ask: requests become records of the run, and the records of answers
# come in between Claude's lines. Needs: state (of the run), run (id), timeout_ms (of a request),
# resolved_head (how the record of an answer begins, up to the id).

# Reads the keys of an object that say what it is, wherever they stand: sets `type`, `id` and, of the request in it,
# `subtype`. A line is cut at its quotes, so that one of many megabytes takes no longer than it has to.
function read_keys(line,    parts, count, i, depth, between, text, opened, outer, key) {
  type = id = subtype = key = outer = ""
  count = split(line, parts, "\"")
  for (i = 1; i <= count; i++) {
    between = parts[i]
    if (between !~ /^[ \t\r]*:[ \t\r]*$/) key = ""
    opened = gsub(/[{[]/, "", between)
    depth += opened - gsub(/[]}]/, "", between)
    # The object has ended, or all is found.
    if (++i > count || depth < 1 || (type != "" && id != "" && subtype != "")) return
    # A backslash in front of a quote makes it part of the string, unless it is escaped itself.
    text = parts[i]
    while (i < count && is_escaped(parts[i])) { i++; if (length(text) < 200) text = text "\"" parts[i] }
    if (key != "") {
      if (depth == 1 && key == "type") type = text
      else if (depth == 1 && key == "request_id") id = text
      else if (depth == 2 && outer == "request" && key == "subtype") subtype = text
      key = ""
    } else if (parts[i + 1] ~ /^[ \t\r]*:/) {
      key = text
      if (depth == 1) outer = key
    }
  }
}

function is_escaped(part) {
  return match(part, /\\+$/) && RLENGTH % 2 == 1
}

# By the shell, which opens the FIFO for reading as well: nothing blocks when there is nobody any more who reads it.
function refuse() {
  system("echo 'refuse " id "' 1<>'" state "/answers'")
}

function record(line,    command) {
  command = "sh '" state "/record-request.sh' '" state "' '" run "' " id " " timeout_ms
  print line | command
  close(command)
}

# While the run is being stopped, all that is open is closed at its end.
function withdraw(    stop, reason, command, line) {
  stop = state "/stop"
  if ((getline reason < stop) > 0) { close(stop); return }
  close(stop)
  command = "sh '" state "/close-permissions.sh' '" state "' '" run "' claude " id
  while ((command | getline line) > 0) print line
  close(command)
}

function is_id(text) {
  return length(text) <= 100 && text ~ /^[A-Za-z0-9-]+$/
}

# The id of the answer whose record a line is.
function answered_id(line) {
  id = substr(line, length(resolved_head) + 1, 101)
  sub(/".*/, "", id)
  return id
}

# Only of a request that there is: a tool can write a record of any other.
function mark_logged(id,    file) {
  file = state "/permissions/" id "/deadline"
  if ((getline < file) > 0) {
    close(file)
    file = state "/permissions/" id "/logged"
    print "" > file
  }
  close(file)
}

{
  line = held $0
  held = ""
  # The record of an answer comes in one piece, but wherever Claude's line is just then.
  at = index(line, resolved_head)
  if (at > 0) {
    held = substr(line, 1, at - 1)
    line = substr(line, at)
    if (is_id(answered_id(line))) {
      print line
      mark_logged(id)
    }
    fflush()
    next
  }
  type = ""
  if (index(line, "\"control_request\"") || index(line, "\"control_cancel_request\"")) {
    # What stands in front of an object is output of its own.
    at = index(line, "{")
    read_keys(substr(line, at))
    if (!is_id(id)) type = ""
    if (type ~ /^control_(cancel_)?request$/ && at > 1) {
      print substr(line, 1, at - 1)
      line = substr(line, at)
    }
  }
  if (type == "control_request") {
    if (subtype == "can_use_tool") record(line)
    else { print line; refuse() }
  } else if (type == "control_cancel_request") {
    withdraw()
  } else {
    print line
    # With the result there, Claude waits for the end of its input.
    if (index(line, "\"type\":\"result\"") && line !~ /"type":"(assistant|user|system|stream_event)"/) {
      system("kill $(cat '" state "/input-holder') 2>/dev/null")
    }
  }
  fflush()
}

END { if (held != "") print held }
