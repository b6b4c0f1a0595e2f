{{/* The operator's settings: `flowmachine-operator --help` says what each is. */}}
{{- define "flowmachine.environment" -}}
{{- $name := include "flowmachine.fullname" . -}}
- {name: FLOWMACHINE_OPERATOR_ENGINE_IMAGE, value: {{ include "flowmachine.engineImage" . | quote }}}
- {name: FLOWMACHINE_OPERATOR_ENGINE_IMAGE_PULL_POLICY, value: {{ .Values.engine.image.pullPolicy | quote }}}
- {name: FLOWMACHINE_OPERATOR_ENGINE_IMAGE_PULL_SECRETS, value: {{ join "," .Values.engine.imagePullSecrets | quote }}}
{{- $labels := list }}
{{- range $key, $value := .Values.engine.labels }}
{{- $labels = append $labels (printf "%s=%s" $key $value) }}
{{- end }}
- {name: FLOWMACHINE_OPERATOR_ENGINE_LABELS, value: {{ join "," $labels | quote }}}
- {name: FLOWMACHINE_OPERATOR_NETWORK_POLICIES, value: {{ .Values.engine.networkPolicies | quote }}}
- {name: FLOWMACHINE_OPERATOR_POD_MONITORS, value: {{ .Values.engine.podMonitors | quote }}}
- {name: FLOWMACHINE_OPERATOR_NAMESPACES, value: {{ join "," .Values.watchNamespaces | quote }}}
- {name: FLOWMACHINE_OPERATOR_NAMESPACE, value: {{ .Release.Namespace | quote }}}
- name: FLOWMACHINE_OPERATOR_IDENTITY
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- {name: FLOWMACHINE_OPERATOR_LEASE_NAME, value: {{ include "flowmachine.leaseName" . | quote }}}
- {name: FLOWMACHINE_OPERATOR_LEASE_SECONDS, value: {{ .Values.tuning.leaseSeconds | quote }}}
- {name: FLOWMACHINE_OPERATOR_HTTP_PORT, value: {{ .Values.metrics.port | quote }}}
- {name: FLOWMACHINE_OPERATOR_RESYNC_SECONDS, value: {{ .Values.tuning.resyncSeconds | quote }}}
- {name: FLOWMACHINE_OPERATOR_FACTS_SECONDS, value: {{ .Values.tuning.factsSeconds | quote }}}
- {name: FLOWMACHINE_OPERATOR_WORKERS, value: {{ .Values.tuning.workers | quote }}}
- {name: FLOWMACHINE_OPERATOR_LOG_LEVEL, value: {{ .Values.log.level | quote }}}
- {name: FLOWMACHINE_OPERATOR_LOG_FORMAT, value: {{ .Values.log.format | quote }}}
{{- if .Values.webhook.enabled }}
- {name: FLOWMACHINE_OPERATOR_WEBHOOK, value: "true"}
- {name: FLOWMACHINE_OPERATOR_WEBHOOK_PORT, value: {{ .Values.webhook.port | quote }}}
- {name: FLOWMACHINE_OPERATOR_WEBHOOK_SERVICE, value: {{ $name | quote }}}
{{- if .Values.webhook.certManager.enabled }}
- {name: FLOWMACHINE_OPERATOR_WEBHOOK_CERT_DIR, value: /etc/flowmachine-operator/webhook}
{{- else }}
- {name: FLOWMACHINE_OPERATOR_WEBHOOK_SECRET, value: {{ include "flowmachine.webhookSecret" . | quote }}}
- {name: FLOWMACHINE_OPERATOR_WEBHOOK_CONFIGURATION, value: {{ $name | quote }}}
{{- end }}
{{- end }}
{{- end -}}
