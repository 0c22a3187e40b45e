{{/*
What begins the names of objects outside of the release's namespace, where several releases lie side by side. Within the namespace
names are fixed: Fairway finds its Services and Secrets by them, so each release has a namespace of its own.
*/}}
{{- define "fairway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end -}}
{{- with .Values.rollouts.instanceID }}-{{ . }}{{ end -}}
{{- end -}}
{{- end -}}
