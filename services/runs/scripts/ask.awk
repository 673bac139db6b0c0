# Between Claude and the run's log when somebody has to allow its tools: its requests become records of the run, and
# records of answers come in between its lines. Needs: state and run (id), patience in ms.
function refuse(id) {
  printf "{\"type\":\"control_response\",\"response\":{\"subtype\":\"error\",\"request_id\":\"%s\",\"error\":\"not supported\"}}\n", id > input
  close(input)
}

function note(id, line,    command) {
  command = "sh '" state "/ask.sh' '" state "' '" run "' " id " " patience
  print line | command
  close(command)
}

# While the run is being stopped, all that is open is closed at its end.
function withdrawn(id,    stop, reason) {
  stop = state "/stop"
  if ((getline reason < stop) > 0) { close(stop); return }
  close(stop)
  if (system("ln -sn 'deny claude' '" state "/asked/" id "/resolved' 2>/dev/null") == 0) {
    tell("\036{\"record\":\"resolved\",\"run\":\"" run "\",\"id\":\"" id "\",\"decision\":\"deny\",\"by\":\"claude\"}", id)
  }
}

function tell(record, id) {
  print record
  print "" > (state "/asked/" id "/told")
  close(state "/asked/" id "/told")
}

# The id behind a beginning of a line; empty when the line has another beginning, or the id could be more than an id.
function id_after(beginning, line,    rest) {
  if (index(line, beginning) != 1) return ""
  rest = substr(line, length(beginning) + 1, 101)
  return match(rest, /^[A-Za-z0-9-]+"/) ? substr(rest, 1, RLENGTH - 1) : ""
}

BEGIN {
  input = state "/in"
  answer = "\036{\"record\":\"resolved\",\"run\":\"" run "\",\"id\":\""
}

{
  line = held $0
  held = ""
  # An answer's record comes in one piece, but wherever Claude's line is just then.
  at = index(line, answer)
  if (at > 0) {
    held = substr(line, 1, at - 1)
    line = substr(line, at)
    if ((id = id_after(answer, line)) != "") tell(line, id)
  } else if ((id = id_after("{\"type\":\"control_request\",\"request_id\":\"", line)) != "") {
    if (index(substr(line, 1, 250), "\"subtype\":\"can_use_tool\"")) note(id, line)
    else { print line; refuse(id) }
  } else if ((id = id_after("{\"type\":\"control_cancel_request\",\"request_id\":\"", line)) != "") {
    withdrawn(id)
  } else {
    print line
    # With the result there, Claude waits for the end of its input.
    if (index(line, "\"type\":\"result\"") && line !~ /"type":"(assistant|user|system|stream_event)"/) {
      system("kill $(cat '" state "/holder') 2>/dev/null")
    }
  }
  fflush()
}

END { if (held != "") print held }
